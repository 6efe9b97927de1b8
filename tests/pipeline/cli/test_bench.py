from __future__ import annotations

import json
from pathlib import Path

from pipeline.runs import RunFolder


def test_only_the_named_bundle_is_measured_as_the_options_say(
    own: RunFolder, compress, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in own.measurement_paths()}
    said = compress(
        "bench", "--bundle", "local-onnx-int8", "--queries", 12, "--threads", 2,
        "--max-seconds", 0.3, "--precision-hint", "auto", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert said.code == 0, said.err
    (measured,) = said.json()["measurements"]
    assert measured["bundle"]["name"] == "local-onnx-int8"
    assert measured["latency_ms"]["n"] == 12
    assert measured["runtime"]["threads"] == 2
    assert measured["runtime"]["precision_hint"] == "auto"
    changed = [path.name for path in before if path.read_bytes() != before[path]]
    assert changed == ["local-onnx-int8@local.json"]
    assert json.loads((own.bench / changed[0]).read_text()) == measured


def test_a_run_without_measurements_is_measured_whole(
    own: RunFolder, compress, tmp_path: Path
) -> None:
    for path in own.measurement_paths():
        path.unlink()
    said = compress("bench", "runs/tiny", "--max-seconds", 0.1, "--queries", 5, cwd=tmp_path)
    assert said.code == 0, said.err
    assert len(own.measurement_paths()) == 6
    for folder in own.bundle_folders():
        assert f"measuring {folder.name}" in said.err
        assert folder.name in said.out
