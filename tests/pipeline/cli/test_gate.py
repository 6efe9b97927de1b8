from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.runs import RunFolder


def budget(folder: Path, text: str) -> Path:
    path = folder / "budget.toml"
    path.write_text(text)
    return path


def test_within_the_budget_it_is_exit_code_0(own: RunFolder, compress, tmp_path: Path) -> None:
    said = compress("gate", cwd=tmp_path)
    assert said.code == 0, said.err
    assert "PASS" in said.out


def test_beyond_the_budget_it_is_exit_code_1_and_each_limit_stands_with_its_figure(
    own: RunFolder, compress, tmp_path: Path
) -> None:
    rules = budget(tmp_path, "[limits]\nsize_mb = { max = 0.2 }\nlatency_p50_ms = { max = 1e-6 }")
    said = compress("gate", "runs/tiny", "--budget", rules, "--json", cwd=tmp_path)
    assert said.code == 1, said.err
    verdict = said.json()
    assert verdict["verdict"] == "fail"
    assert json.loads(own.verdict_path.read_text())["verdict"] == "fail"
    by_name = {(check["bundle"], check["metric"]): check for check in verdict["checks"]}
    assert len(by_name) == 8
    size = by_name["local-onnx-int8", "size_mb"]
    model = own.bundles / "local-onnx-int8/model.onnx"
    assert size["passed"]
    assert size["value"] == pytest.approx(model.stat().st_size / 1e6)
    assert not by_name["local-onnx-fp32", "size_mb"]["passed"]
    latency = by_name["local-onnx-int8", "latency_p50_ms"]
    measured = json.loads((own.bench / "local-onnx-int8@local.json").read_text())
    assert latency["value"] == measured["latency_ms"]["p50"]
    assert not latency["passed"]


def test_what_was_not_measured_is_beyond_the_budget(
    own: RunFolder, compress, tmp_path: Path
) -> None:
    # Thirty queries are too few for a 99th percentile.
    rules = budget(tmp_path, "[limits]\nlatency_p99_ms = { max = 1e9 }")
    said = compress("gate", "--budget", rules, "--json", cwd=tmp_path)
    assert said.code == 1, said.err
    assert {check["reason"] for check in said.json()["checks"]} == {"not measured"}


def test_only_the_named_bundle_is_judged(own: RunFolder, compress, tmp_path: Path) -> None:
    rules = budget(tmp_path, "[limits]\nsize_mb = { max = 0.2 }")
    said = compress("gate", "--budget", rules, "--bundle", "local-onnx-int8", cwd=tmp_path)
    assert said.code == 0, said.err
    assert "local-onnx-fp32" not in said.out


def test_a_verdict_is_said_of_the_run_used_last(own: RunFolder, compress, tmp_path: Path) -> None:
    other = tmp_path / "runs/other"
    own.path.rename(other)
    said = compress("gate", "--json", cwd=tmp_path)
    assert said.code == 0, said.err
    assert Path(said.json()["run"]) == Path("runs/other")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[limits]\nlatency_p95 = { max = 1.0 }", "did you mean 'latency_p95_ms'?"),
        ("[limts]", "did you mean 'limits'?"),
        ("[limits]\nsize_mb = { max = 'big' }", "limits.size_mb.max"),
        ("", "no limits"),
        ('bundles = ["local-onnx-int9"]\n[limits]\nsize_mb = { max = 1.0 }', "'local-onnx-int8'"),
        ("[", "not valid TOML"),
    ],
)
def test_bad_input_is_exit_code_2_and_no_verdict(
    own: RunFolder, compress, tmp_path: Path, text: str, words: str
) -> None:
    before = own.verdict_path.read_bytes()
    said = compress("gate", "--budget", budget(tmp_path, text), cwd=tmp_path)
    assert said.code == 2
    assert words in said.complaint
    assert own.verdict_path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere: not a run folder"),
        ([], "no run here yet"),
        (["--budget", "nope.toml"], "no run here yet"),
        (["--limit", "3"], "No such option"),
    ],
)
def test_without_a_run_it_is_exit_code_2(compress, tmp_path: Path, arguments, words) -> None:
    said = compress("gate", *arguments, cwd=tmp_path)
    assert said.code == 2
    assert words in said.err
    assert "Traceback" not in said.err


def test_without_measurements_it_is_exit_code_2(own: RunFolder, compress, tmp_path: Path) -> None:
    for path in own.measurement_paths():
        path.unlink()
    said = compress("gate", cwd=tmp_path)
    assert said.code == 2
    assert "compress bench" in said.complaint
