"""How often a command reads a bundle's files for their checksums: once, in all its processes."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.run_folder.folder import RunFolder

NAME = "local-onnx-int8"
FILES = {"README.md": 1, "bundle.json": 1, "model.onnx": 1, "probe.npz": 1}
HEAVY = ("model.onnx", "probe.npz")

Times = Callable[[Path], dict[str, int]]


@pytest.fixture
def run(own: RunFolder) -> RunFolder:
    """A run that has lain there for a while: of what was written just now nothing is remembered."""
    time.sleep(0.05)
    return own


def test_bench_reads_a_bundle_once(run: RunFolder, compress, times_hashed: Times) -> None:
    told = compress("bench", "--bundle", NAME, "--queries", 20, cwd=run.path.parents[1])
    assert told.code == 0, told.err
    assert times_hashed(run.bundles / NAME) == FILES


def test_bench_against_another_reads_both_once_however_many_processes_load_them(
    run: RunFolder, compress, times_hashed: Times
) -> None:
    other = shutil.copytree(run.bundles / "local-onnx-fp32", run.path.parents[1] / "last")
    time.sleep(0.05)
    told = compress(
        "bench", "--bundle", NAME, "--against", other, "--queries", 20, "--rounds", 16,
        "--max-seconds", 0.4, cwd=run.path.parents[1],
    )  # fmt: skip
    assert told.code == 0, told.err
    assert times_hashed(run.bundles / NAME) == FILES
    assert times_hashed(other) == FILES


def test_the_gate_reads_a_bundle_once(run: RunFolder, compress, times_hashed: Times) -> None:
    told = compress("gate", "--bundle", NAME, cwd=run.path.parents[1])
    assert told.code == 0, told.err
    assert times_hashed(run.bundles / NAME) == FILES


def test_the_gate_that_measures_again_reads_a_bundle_once(
    run: RunFolder, compress, times_hashed: Times, tmp_path: Path
) -> None:
    # Nobody can tell whether a limit is kept that is the very figure.
    measured = json.loads((run.bench / f"{NAME}@local.json").read_text())
    p50 = measured["latency_ms"]["percentiles"]["p50"]["value"]
    (tmp_path / "budget.toml").write_text(f"[limits]\nlatency_p50_ms = {{ max = {p50} }}\n")
    told = compress(
        "gate", "--budget", "budget.toml", "--bundle", NAME, "--on-inconclusive", "retry 1",
        "--json", cwd=tmp_path,
    )  # fmt: skip
    assert told.json()["checks"][0]["looks"] == 2, told.err
    assert times_hashed(run.bundles / NAME) == FILES


def test_export_reads_what_it_wrote_once(run: RunFolder, compress, times_hashed: Times) -> None:
    told = compress(
        "export", "--target", "rpi5", "--format", "onnx", "--precision", "fp32",
        cwd=run.path.parents[1],
    )  # fmt: skip
    assert told.code == 0, told.err
    times = times_hashed(run.bundles / "rpi5-onnx-fp32")
    assert {name: times[name] for name in HEAVY} == dict.fromkeys(HEAVY, 1)
    # A few kilobytes, written in the moment before they are listed in run.json.
    assert times["README.md"] <= 3
    assert times["bundle.json"] <= 2
