"""compress estimate, and profiles of one's own, on the tiny road's run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy_targets.device import facts
from deploy_targets.estimating.estimate import read_estimate
from foundation.errors import CorruptFileError
from pipeline.run_folder.folder import RunFolder

PROFILE = """\
description = "{what}"
arch = "{arch}"
cpu = "{cpu}"
fp32_per_cycle = 32
int8_per_cycle = 128
threads = 1
features = []
precisions = ["fp32"]

[[runtimes]]
name = "onnxruntime"
version = ">=1.20,<2"

[[runtimes]]
name = "openvino"
version = ">=2025.0"

[quantization]
activation_type = "u8"
weight_type = "s8"
per_channel = true
reduce_range = false
calibration = "minmax"
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A profile of this machine: of any core, for it names what a measurement's host is called."""
    found = facts.collect()
    path = tmp_path / "here.toml"
    path.write_text(PROFILE.format(what="this machine", arch=found.arch, cpu=found.cpu))
    return path


def test_a_target_that_nobody_asked_is_estimated_within_a_wide_range_and_called_so(
    own: RunFolder, forked, tmp_path: Path
) -> None:
    said = forked("estimate", "--target", "rpi4", "--json", cwd=tmp_path)
    assert said.code == 0, said.err
    every = said.json()["estimates"]
    # What the Pi 4 has a runtime for: no OpenVINO.
    names = ["local-onnx-fp32", "local-onnx-int8", "local-teacher-onnx-fp32"]
    assert [one["bundle"]["name"] for one in every] == names
    for one in every:
        assert (one["kind"], one["target"], one["threads"]) == ("estimate", "rpi4", 4)
        basis, latency = one["basis"], one["latency_ms"]
        assert latency["low"] == basis["roofline_ms"] < latency["value"] < latency["high"]
        assert latency["high"] == pytest.approx(20 * latency["low"])
        assert (basis["calibrated_by"], basis["confidence"]) == ([], None)
    full, low, _ = every
    assert low["latency_ms"]["value"] < full["latency_ms"]["value"]
    assert full["basis"]["macs"] == own.record()["networks"]["student"]["macs"]
    assert low["basis"]["macs"] == full["basis"]["macs"]
    assert low["basis"]["bytes"] < full["basis"]["bytes"]


def test_an_estimate_lies_beside_the_measurements_and_is_none(
    own: RunFolder, forked, tmp_path: Path
) -> None:
    measured = own.measurement_paths()
    shown = forked("estimate", "--target", "rpi4", "--bundle", "local-onnx-int8", cwd=tmp_path)
    assert "Estimate: computed, not measured" in shown.out
    path = own.bench / "local-onnx-int8@estimate-rpi4.json"
    assert own.estimate_paths() == [path]
    assert own.measurement_paths() == measured
    estimate = read_estimate(path)
    assert estimate.bundle.name == "local-onnx-int8"
    reported = forked("report", cwd=tmp_path)
    assert reported.code == 0, reported.err
    assert "Estimates: computed, not measured" in reported.out
    for page in ("report.html", "report.md"):
        text = (own.path / page).read_text()
        assert "computed" in text.partition("Estimates")[2][:40]
        assert text.count("rpi4") >= 1
    path.write_text(path.read_text().replace('"kind": "estimate"', '"kind": "measurement"'))
    with pytest.raises(CorruptFileError, match="estimate of schema version 1"):
        read_estimate(path)


def test_an_estimate_of_an_earlier_export_is_not_judged(
    own: RunFolder, forked, list_anew, tmp_path: Path
) -> None:
    forked("estimate", "--target", "rpi4", "--bundle", "local-onnx-int8", cwd=tmp_path)
    path = own.bench / "local-onnx-int8@estimate-rpi4.json"
    record = json.loads(path.read_text())
    record["bundle"]["manifest_sha256"] = "0" * 64
    path.write_text(json.dumps(record))
    list_anew(own)
    said = forked("gate", "--allow-estimate", cwd=tmp_path)
    assert said.code == 2, said.err
    assert f"exported anew since {path.name} was made; run `compress estimate" in said.complaint
    assert "--target rpi4`" in said.complaint


def test_what_was_measured_on_such_a_core_narrows_the_estimate(
    own: RunFolder, forked, here: Path, tmp_path: Path
) -> None:
    said = forked("estimate", "--target", here, "--json", cwd=tmp_path)
    assert said.code == 0, said.err
    every = {one["bundle"]["name"]: one for one in said.json()["estimates"]}
    # Its own measurement is no basis; the teacher's, of the same runtime and precision, is.
    student = every["local-openvino-fp32"]["basis"]
    assert student["calibrated_by"] == ["tiny/local-teacher-openvino-fp32@local"]
    assert student["confidence"] == 0.9
    assert student["roofline_ms"] is None  # the clock was not said
    # Nothing of INT8 but its own was measured in this runtime: all else counts, with more doubt.
    other = every["local-openvino-int8"]
    assert len(other["basis"]["calibrated_by"]) == 5
    assert any("another precision" in note for note in other["basis"]["notes"])
    for one in every.values():
        assert one["latency_ms"]["low"] < one["latency_ms"]["value"] < one["latency_ms"]["high"]


def test_an_estimate_that_would_rest_on_nothing_is_refused(
    own: RunFolder, forked, here: Path, tmp_path: Path
) -> None:
    for path in own.measurement_paths():
        path.unlink()
    said = forked("estimate", "--target", here, cwd=tmp_path)
    assert said.code == 2
    assert "its clock is not known and nothing of this run was measured" in said.complaint
    said = forked("estimate", "--target", "x86-avx2", cwd=tmp_path)
    assert said.code == 2
    assert "fp32_per_cycle" in said.complaint
    said = forked("estimate", "--target", "rpi4", "--bundle", "local-onnx-int9", cwd=tmp_path)
    assert said.code == 12
    assert own.estimate_paths() == []


@pytest.mark.slow
def test_a_run_keeps_a_profile_that_lies_outside_and_knows_it_without_the_file(
    own: RunFolder, forked, tmp_path: Path
) -> None:
    board = tmp_path / "my-board.toml"
    board.write_text(PROFILE.format(what="a board", arch="riscv64", cpu="U74"))
    said = forked("export", "runs/tiny", "--target", board, "--format", "onnx", cwd=tmp_path)
    assert said.code == 0, said.err
    kept = own.path / "targets" / "my-board.json"
    assert json.loads(kept.read_text())["arch"] == "riscv64"
    board.unlink()
    said = forked("bench", "--max-seconds", 0.1, "--queries", 5, cwd=tmp_path)
    assert said.code == 0, said.err
    assert "left out my-board-onnx-fp32: made for riscv64" in said.err


def test_only_arm64_can_be_emulated(own: RunFolder, forked, tmp_path: Path) -> None:
    bundle = own.bundles / "local-onnx-fp32"
    said = forked("bundle", "verify", bundle, "--emulate", "n100", cwd=tmp_path)
    assert said.code == 2
    assert "only aarch64 is emulated" in said.complaint
    said = forked("bundle", "verify", bundle, "--emulate", "rpi44", cwd=tmp_path)
    assert said.code == 12
