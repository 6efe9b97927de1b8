"""Whichever file of a run or a bundle is damaged, its name and a documented exit code are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.run_folder.folder import RunFolder

REPORT, GATE = ["report", "runs/tiny"], ["gate", "runs/tiny"]
EXPORT = ["export", "runs/tiny", "--format", "onnx", "--precision", "int8", "--max-drop", "9"]
VERIFY = ["bundle", "verify", "runs/tiny/bundles/local-onnx-fp32"]
FILES = {
    "recipe.toml": EXPORT,
    "run.json": REPORT,
    "data/facts.json": REPORT,
    "stages/1-kd/metrics.json": REPORT,
    "bench/local-onnx-fp32@local.json": REPORT,
    "data/calibration.npz": EXPORT,
    "student.safetensors": EXPORT,
    "bundles/local-onnx-fp32/bundle.json": VERIFY,
    "bundles/local-onnx-fp32/model.onnx": VERIFY,
    "bundles/local-onnx-fp32/probe.npz": VERIFY,
}


def shortened(content: bytes) -> bytes:
    return content[: -min(1000, len(content) // 3)]


def zeroed(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(500) + content[middle + 500 :]


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_with_a_documented_exit_code(
    own: RunFolder, forked, tmp_path: Path, name: str
) -> None:
    sound = (own.path / name).read_bytes()
    for damaged in (b"", shortened(sound), zeroed(sound)):
        (own.path / name).write_bytes(damaged)
        said = forked(*FILES[name], cwd=tmp_path)
        assert said.code in {10, 11, 14, 15, 16, 17, 19}, said.err
        assert Path(name).name in said.complaint
    (own.path / name).write_bytes(sound)


def test_a_damaged_record_is_no_verdict(own: RunFolder, forked, tmp_path: Path) -> None:
    for name in ("run.json", "bench/local-onnx-fp32@local.json"):
        sound = (own.path / name).read_bytes()
        for damaged in (b"", shortened(sound), zeroed(sound)):
            (own.path / name).write_bytes(damaged)
            said = forked(*GATE, cwd=tmp_path)
            assert said.code == 2, (name, said.err)
            assert Path(name).name in said.complaint
        (own.path / name).write_bytes(sound)
    assert forked(*GATE, cwd=tmp_path).code == 0
