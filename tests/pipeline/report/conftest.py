from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy_targets.measurement import read_measurement, write_measurement
from foundation.bundle import MANIFEST, read_manifest, write_manifest
from foundation.files import sha256_of
from pipeline.exporting.choice import (
    Shipping,
    ShippingCandidate,
    Speedup,
    choose,
    keeps_limit,
    read_shipping,
    write_shipping,
)
from pipeline.report.write import report
from pipeline.run_folder.folder import RunFolder

VALIDATION = {"fp32": 0.9, "int8": 0.89}
"""Top-1 of the tiny run's student bundles, as written into their manifests by hand."""


@pytest.fixture(scope="session")
def tiny_copy(road, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RunFolder]:
    """Copies of the tiny run, to be changed."""
    assert road.said.code == 0, road.said.err

    def copy(name: str) -> RunFolder:
        folder = tmp_path_factory.mktemp(name) / "tiny"
        return RunFolder(Path(shutil.copytree(road.run.path, folder)))

    return copy


@pytest.fixture(scope="session")
def shipped(tiny_copy, list_anew) -> RunFolder:
    """The tiny run as if ONNX INT8 had been chosen among its bundles, with round figures."""
    run = tiny_copy("shipped")
    for folder in run.bundle_folders():
        manifest = read_manifest(folder)
        worth = {"top1": VALIDATION[manifest.precision], "n": 100}
        if manifest.role == "student":
            scheme = dict(manifest.format_facts.get("quantization", {}))
            if scheme:
                scheme |= {"reason": "for the <b>kernels</b>", "operators_kept": ["node_conv"]}
            write_manifest(
                folder,
                replace(
                    manifest,
                    accuracy=manifest.accuracy | {"validation": worth},
                    format_facts=manifest.format_facts
                    | ({"quantization": scheme} if scheme else {}),
                ),
            )
    for path in run.measurement_paths():
        one = read_measurement(path)
        sha256 = sha256_of(run.bundles / one.bundle.name / MANIFEST)
        write_measurement(path, replace(one, bundle=replace(one.bundle, manifest_sha256=sha256)))
    candidates = [
        _candidate(read_measurement(path).bundle)
        for path in run.measurement_paths()
        if "teacher" not in path.name
    ]
    write_shipping(
        run.shipping_path,
        Shipping(
            target="local", max_drop=1.5, **choose(candidates, 1.5)._asdict(),
            measured_on="local", candidates=candidates, trials=3, seconds=9.0,
        ),
    )  # fmt: skip
    assert read_shipping(run.shipping_path).chosen == "local-onnx-int8"
    list_anew(run)
    report(run)
    return run


def _candidate(measured) -> ShippingCandidate:
    full = measured.precision == "fp32"
    drop = 100 * (VALIDATION["fp32"] - VALIDATION[measured.precision])
    onnx = measured.format == "onnx"
    return ShippingCandidate(
        bundle=measured.name, format=measured.format, precision=measured.precision,
        validation_top1=VALIDATION[measured.precision],
        drop=drop, drop_low=drop - 0.7, drop_high=drop + 0.7, model_bytes=measured.model_bytes,
        p50_ms=(4.0 if full else 2.0) if onnx else (5.0 if full else 4.9),
        ratio=None if full else Speedup(2.0, 1.9, 2.1) if onnx else Speedup(1.02, 0.99, 1.05),
        executed="f32" if full else "int8", meets_limit=keeps_limit(drop, 1.5),
        excluded=[] if full else ["node_conv"],
    )  # fmt: skip


@pytest.fixture(scope="session")
def adopted(tiny_copy) -> RunFolder:
    """The tiny run as if its student had come from elsewhere: no teacher, no stages."""
    run = tiny_copy("adopted")
    for folder in (run.teacher, run.stages):
        shutil.rmtree(folder)
    for path in (*run.bundle_folders(), *run.measurement_paths(), run.verdict_path):
        if "teacher" in path.name or path == run.verdict_path:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    record = run.record()
    run.note(networks={"student": record["networks"]["student"]}, adopted="zoo/net.onnx")
    report(run)
    return run


@pytest.fixture(scope="session")
def hostile(tiny_copy) -> RunFolder:
    """The tiny run as if its classes, its dataset and a skipped file had names like these."""
    run = tiny_copy("hostile")
    facts = json.loads((run.data / "facts.json").read_text())
    facts["classes"][:2] = ["<b>bold</b>", "<script>console.error('broken out')</script>"]
    facts["name"] = 'folder:<img src="x" onerror="console.error(1)">'
    facts["skipped"] = ["a&b<i>.jpg"]
    (run.data / "facts.json").write_text(json.dumps(facts))
    run.note(name="<u>run</u>")
    report(run)
    return run
