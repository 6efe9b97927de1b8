"""compress bench --against: a bundle in turns with another, or beside a stored measurement."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from pipeline.commands.schemas import schemas
from pipeline.run_folder.folder import RunFolder

NAME = "local-onnx-int8"
RULES = "[limits]\nlatency_p50_ms = {{ max_regression = {} }}\n"


def fits(name: str, content: object) -> None:
    Draft202012Validator(schemas()[f"{name}.schema.json"]).validate(content)


def test_a_bundle_is_timed_in_turns_and_the_gate_goes_by_it(
    own: RunFolder, forked, tmp_path: Path
) -> None:
    # FP32 stands in for the last release: INT8 of this network is faster, if not by much.
    shutil.copytree(own.bundles / "local-onnx-fp32", tmp_path / "last")
    said = forked("bench", "--bundle", NAME, "--against", "last", "--json", cwd=tmp_path)
    assert said.code == 0, said.err
    (tmp_path / "printed.json").write_text(said.out)
    (ratio,) = said.json()["ratios"]
    assert (ratio["bundle"], ratio["reference"]) == (NAME, "local-onnx-fp32")
    assert (ratio["percentile"], ratio["basis"]) == ("p50", "interleaved")
    (path,) = (own.bench / "comparisons").iterdir()
    kept = json.loads(path.read_text())
    fits("comparison", kept)
    assert (kept["rounds"], kept["fresh"]) == (7, True)
    assert [one["bundle"]["name"] for one in kept["candidates"]] == ["local-onnx-fp32", NAME]

    before = path.stat().st_mtime_ns
    again = forked("bench", "--bundle", NAME, "--against", "last", cwd=tmp_path)
    assert again.code == 0, again.err
    assert "interleaved" in again.out
    assert path.stat().st_mtime_ns == before, "what was timed in the same way is not timed again"

    for limit, code in ((1000, 0), (-99, 1)):
        (tmp_path / "budget.toml").write_text(RULES.format(limit))
        judged = forked(
            "gate", "--budget", "budget.toml", "--baseline", "last", "--bundle", NAME, "--json",
            cwd=tmp_path,
        )  # fmt: skip
        (check,) = judged.json()["checks"]
        assert (judged.code, check["basis"]) == (code, "interleaved")
        assert check["value"] == pytest.approx(100 * (ratio["estimate"] - 1))

    # As files, without a run, it is the same; and as what was printed.
    for files in ([f"runs/tiny/bench/{NAME}@local.json", path], ["printed.json"]):
        again = forked(
            "gate", *files, "--budget", "budget.toml", "--baseline", "last", "--json", cwd=tmp_path
        )
        assert again.code == 1, again.err
        (found,) = again.json()["checks"]
        assert (found["basis"], found["value"]) == ("interleaved", check["value"])


def test_beside_a_stored_measurement_there_is_a_ratio_that_says_it_is_not_interleaved(
    own: RunFolder, forked, tmp_path: Path
) -> None:
    shutil.copy(own.bench / f"{NAME}@local.json", tmp_path / "old.json")
    said = forked("bench", "--bundle", NAME, "--against", "old.json", "--json", cwd=tmp_path)
    assert said.code == 0, said.err
    (ratio,) = said.json()["ratios"]
    assert ratio["basis"] == "not interleaved"
    assert ratio["low"] < 1 / 1.05
    assert ratio["high"] > 1.05
    assert not (own.bench / "comparisons").exists()


@pytest.mark.parametrize(
    ("against", "code", "words"),
    [
        ("nowhere", 10, "nowhere"),
        ("nowhere.json", 10, "nowhere.json: no such bundle or measurement"),
        ("tiny.toml", 16, "tiny.toml: not a whole packed bundle"),
        ("runs/tiny/gate.json", 16, "neither a measurement nor a comparison"),
        ("stranger", 2, "say with --bundle which"),
    ],
)
def test_what_nothing_can_be_held_against_is_told(
    own: RunFolder, forked, tmp_path: Path, *, against: str, code: int, words: str
) -> None:
    stranger = tmp_path / "stranger"
    shutil.copytree(own.bundles / "local-onnx-fp32", stranger)
    manifest = json.loads((stranger / "bundle.json").read_text())
    (stranger / "bundle.json").write_text(json.dumps({**manifest, "name": "stranger"}))
    said = forked("bench", "--against", against, cwd=tmp_path)
    assert said.code == code, said.err
    assert words in said.complaint
