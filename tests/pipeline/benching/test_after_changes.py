"""Bench, gate and report as steps: what they make of a run folder that has changed meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from deploy_targets.device.jobs import Job, ServerJob
from deploy_targets.device.options import RuntimeOptions, SamplingOptions
from deploy_targets.measuring.compare import CompareOptions
from deploy_targets.measuring.measure import MeasureOptions
from deploy_targets.targets import load_target
from foundation.errors import CorruptFileError, MissingFileError, UnknownNameError
from foundation.records import part_of
from pipeline.benching.bench import bench, measured_as
from pipeline.gating.gate import gate, read_measurements
from pipeline.gating.verdict import read_verdict
from pipeline.recipe.sections.bench import BenchRecipe
from pipeline.report.write import report
from pipeline.run_folder.folder import RunFolder


def silent(_bundle: str, _facts: dict) -> None:
    pass


def test_what_was_measured_is_not_measured_again(own: RunFolder) -> None:
    before = {path: path.stat().st_mtime_ns for path in own.measurement_paths()}
    paths = bench(own, own.recipe().bench, silent, print)
    assert {path: path.stat().st_mtime_ns for path in paths} == before


def test_another_way_of_measuring_is_measured(own: RunFolder) -> None:
    (before,) = (m for m in read_measurements(own) if m.bundle.name == "local-onnx-int8")
    heard: list[str] = []
    asked = BenchRecipe(threads=2, queries=5, min_seconds=0, max_seconds=0.2)
    (path,) = bench(own, asked, lambda name, _: heard.append(name), print, ["local-onnx-int8"])
    after = json.loads(path.read_text())
    assert (before.runtime.threads, after["runtime"]["threads"]) == (1, 2)
    assert after["latency_ms"]["n"] == 5
    assert set(heard) == {"local-onnx-int8"}


def test_how_a_bundle_was_measured_can_be_asked_for_again(own: RunFolder) -> None:
    """All of it: what the command line gave stands in no recipe."""
    settings = BenchRecipe(
        threads=1, queries=5, min_seconds=0, max_seconds=0.2, seed=7, accuracy=False,
        percentiles=[75.0], throughput_batch=3,
    )  # fmt: skip
    (path,) = bench(own, settings, silent, print, ["local-onnx-int8"])
    assert measured_as(own, path) == settings


def test_every_option_reaches_the_device_as_the_recipe_has_it() -> None:
    settings = BenchRecipe(
        threads=3, precision_hint="auto", runtime="openvino", pin="0-1", scenario="server",
        rate=50.0, batch=2, streams=4, seed=9, percentiles=[75.0], queries=7, min_seconds=0.5,
        max_seconds=3.0, throughput_batch=5,
    )  # fmt: skip
    job = part_of(Job, part_of(MeasureOptions, settings), bundle="b")
    names = [field.name for kind in (RuntimeOptions, SamplingOptions) for field in fields(kind)]
    sent = {name: getattr(job, name) for name in names}
    assert sent == {name: getattr(settings, name) for name in names}
    assert all(value != getattr(BenchRecipe(), name) for name, value in sent.items())
    server = part_of(ServerJob, part_of(CompareOptions, settings), bundle="b")
    for field in fields(RuntimeOptions):
        assert getattr(server, field.name) == sent[field.name]


def test_a_bundle_that_was_spoilt_is_refused_even_if_it_was_measured(
    own: RunFolder, flip_a_byte: Callable[[Path], None]
) -> None:
    flip_a_byte(own.bundles / "local-onnx-int8/model.onnx")
    with pytest.raises(CorruptFileError, match=r"local-onnx-int8/model\.onnx"):
        bench(own, own.recipe().bench, silent, print)


def test_an_unknown_bundle_is_told_with_the_nearest(own: RunFolder) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'local-onnx-int8'"):
        bench(own, own.recipe().bench, silent, print, ["local-onnx-int"])


def given_to(folder: Path, target: str) -> None:
    """Write another target into a bundle's manifest; the manifest itself has no checksum."""
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**manifest, "target": target}))


def test_a_bundle_for_another_architecture_is_left_out_unless_it_is_named(own: RunFolder) -> None:
    if load_target("local").arch != "x86_64":
        pytest.skip("no profile of another architecture is shipped for this machine")
    given_to(own.bundles / "local-onnx-int8", "rpi5")
    asked, said = BenchRecipe(threads=1, queries=5, min_seconds=0, max_seconds=0.2), list[str]()

    paths = bench(own, asked, silent, said.append)
    assert paths
    assert "local-onnx-int8@local.json" not in {path.name for path in paths}
    assert said == ["left out local-onnx-int8: made for aarch64, this host is x86_64"]

    (path,) = bench(own, asked, silent, said.append, ["local-onnx-int8"])
    assert json.loads(path.read_text())["bundle"]["target"] == "rpi5"


def test_a_run_without_a_bundle_for_this_host_says_so(own: RunFolder) -> None:
    if load_target("local").arch != "x86_64":
        pytest.skip("no profile of another architecture is shipped for this machine")
    for folder in own.bundle_folders():
        given_to(folder, "rpi5")
    with pytest.raises(MissingFileError, match="no bundle for the architecture of host 'local'"):
        bench(own, own.recipe().bench, silent, print)


def test_the_verdict_stays_in_the_run_folder(own: RunFolder) -> None:
    verdict = gate(own, own.recipe().gate)
    assert read_verdict(own.verdict_path) == verdict
    assert verdict.judged == [str(own.path)]


def test_figures_of_an_earlier_export_do_not_pass_the_gate(own: RunFolder) -> None:
    manifest = own.bundles / "local-onnx-int8/bundle.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "origin": {"new": 1}}))
    with pytest.raises(MissingFileError, match=r"local-onnx-int8: exported anew.*compress bench"):
        gate(own, own.recipe().gate)


@pytest.mark.parametrize("content", ["{}", "[]", "{"])
def test_a_measurement_that_is_none_is_refused_by_name(own: RunFolder, content: str) -> None:
    own.measurement_paths()[0].write_text(content)
    for step in (lambda: gate(own, own.recipe().gate), lambda: report(own)):
        with pytest.raises(CorruptFileError, match=own.measurement_paths()[0].name):
            step()


def test_without_a_student_there_is_nothing_to_report(own: RunFolder) -> None:
    own.note(networks={})
    with pytest.raises(MissingFileError, match="compress distill"):
        report(own)
