from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.run_folder.folder import RunFolder


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


def test_a_server_is_measured_beside_the_plain_measurement(
    own: RunFolder, forked, tmp_path: Path
) -> None:
    before = set(own.measurement_paths())
    said = forked(
        "bench", "--bundle", "local-onnx-int8", "--scenario", "server", "--rate", 300,
        "--percentile", 75, "--pin", "auto", "--no-accuracy", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert said.code == 0, said.err
    (measured,) = said.json()["measurements"]
    assert measured["scenario"] == {
        "name": "server", "batch": 1, "streams": None, "rate": 300.0,
    }  # fmt: skip
    assert list(measured["latency_ms"]["percentiles"]) == ["p75"]
    assert len(measured["runtime"]["pinned"]) == 1
    assert measured["accuracy"] is None
    (new,) = set(own.measurement_paths()) - before
    assert new.name == "local-onnx-int8@local.server.json"
    assert not list(own.bench.glob("*.journal"))


def test_a_table_says_what_a_percentile_would_need_and_why_a_measurement_is_suspect(
    own: RunFolder, forked, tmp_path: Path
) -> None:
    said = forked("bench", "--bundle", "local-onnx-int8", cwd=tmp_path)
    assert said.code == 0, said.err
    assert "needs 662" in said.out
    assert "unavailable here" in said.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scenario", "server"], "needs a rate"),
        (["--rate", "5"], "is for scenario server"),
        (["--scenario", "serve"], "'server'"),
        (["--pin", "3-1"], "must be 'auto' or cores such as"),
        (["--percentile", "100"], "99.9999"),
        (["--streams", "2"], "ask for multi-stream"),
        (["--runtime", "tflite"], "unknown runtime 'tflite'"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(
    own: RunFolder, forked, tmp_path: Path, arguments, words
) -> None:
    said = forked("bench", *arguments, cwd=tmp_path)
    assert said.code != 0
    assert words in said.err
    assert "Traceback" not in said.err


def test_bundles_of_another_format_than_the_runtimes_are_left_out(
    own: RunFolder, forked, tmp_path: Path
) -> None:
    said = forked(
        "bench", "--runtime", "openvino", "--queries", 5, "--max-seconds", 0.1, cwd=tmp_path
    )
    assert said.code == 0, said.err
    assert "left out local-onnx-int8: runtime openvino takes models of format openvino" in said.err
    assert "measuring local-openvino-int8" in said.err


# Python runs it at its start; of all processes only those that measure mind it.
BREAKS = """
import os, sys
if "{module}" in sys.orig_argv:
    os.write(2, b"first words\\n\\x1b[31mlast words\\n")
    os._exit(3)
"""


@pytest.mark.parametrize(
    ("module", "more", "name"),
    [
        ("worker", (), "local-onnx-int8@local.stderr.txt"),
        ("server", ("--against", "runs/tiny/bundles/local-onnx-fp32"), "local-onnx-int8@local--"),
    ],
)
def test_what_a_process_said_that_failed_is_kept_and_named(
    own: RunFolder,
    compress,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    module: str,
    more: tuple[str, ...],
    name: str,
) -> None:
    (tmp_path / "broken").mkdir()
    code = BREAKS.format(module=f"deploy_targets.device.{module}")
    (tmp_path / "broken/sitecustomize.py").write_text(code)
    order = ("bench", "--bundle", "local-onnx-int8", "--max-seconds", 0.3, *more)
    if not more:
        (own.bench / "local-onnx-int8@local.json").unlink()
    path = os.pathsep.join(part for part in (os.environ.get("PYTHONPATH"),) if part)
    with monkeypatch.context() as broken:
        broken.setenv("PYTHONPATH", f"{tmp_path / 'broken'}{os.pathsep}{path}")
        said = compress(*order, cwd=tmp_path)
    assert said.code == 21
    (kept,) = own.logs.iterdir()
    assert kept.name.startswith(name)
    assert said.complaint.endswith(f"; what it said is in {kept.relative_to(tmp_path)}")
    assert "its last words: \\x1b[31mlast words" in said.complaint
    assert kept.read_text() == "first words\n\\x1b[31mlast words\n"
    said = compress(*order, cwd=tmp_path)
    assert said.code == 0, said.err
    assert not own.logs.exists()
