"""A graph with two inputs and three outputs, from a user's file to a verdict."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from any_graphs import two_inputs

from foundation.bundle import open_any_bundle

SHAPE = ("--input-shape", "image=1,3,8,8")
QUICK = ("--queries", "20", "--min-seconds", "0", "--max-seconds", "0.3")
MINE = """
import numpy as np

def samples():
    draw = np.random.default_rng(0)
    for number in range(24):
        tokens = draw.integers(0, 20, (1, 5))
        yield f"s{number}", {"image": draw.random((3, 8, 8)), "tokens": tokens}

def score(outputs, ids):
    assert len(ids) == len(outputs["mask"]) and ids[0].startswith("s")
    return {"classes": np.mean([len(np.unique(mask)) for mask in outputs["mask"]]) / 4}

def fails(outputs, ids):
    return "good"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user has it: the graph, its samples, code."""
    folder = tmp_path_factory.mktemp("mine")
    two_inputs(folder / "two.onnx")
    draw = np.random.default_rng(0)
    tokens = draw.integers(0, 20, (30, 5))
    np.savez(folder / "samples.npz", image=draw.random((30, 3, 8, 8)), tokens=tokens)
    (folder / "mine.py").write_text(MINE)
    return folder


@pytest.fixture(scope="module")
def run(place: Path, forked) -> Path:
    said = forked(
        "export", "two.onnx", "--data", "arrays:samples.npz", *SHAPE, "--format", "onnx",
        "--run", "run", "--json", cwd=place,
    )  # fmt: skip
    assert said.code == 0, said.err
    made = said.json()["bundles"]
    assert {bundle["name"] for bundle in made} >= {"local-onnx-fp32", "local-onnx-int8"}
    outputs = {output["name"]: output for output in made[0]["parity"]["outputs"]}
    assert outputs["mask"]["equal"] == 1.0
    assert "takes one sample a query: [1, 3, 8, 8]" in said.err
    measured = forked("bench", "run", "--bundle", "local-onnx-int8", *QUICK, "--json", cwd=place)
    assert measured.code == 0, measured.err
    (measurement,) = measured.json()["measurements"]
    assert [output["name"] for output in measurement["parity"]["outputs"]] == [
        "map", "mask", "vector",
    ]  # fmt: skip
    assert measurement["throughput"]["batch"] == 1
    return place / "run"


def test_the_same_export_is_found_done(run: Path, forked) -> None:
    before = (run / "bundles/local-onnx-int8/bundle.json").stat().st_mtime_ns
    said = forked("export", "run", "--format", "onnx", cwd=run.parent)
    assert said.code == 0, said.err
    assert (run / "bundles/local-onnx-int8/bundle.json").stat().st_mtime_ns == before
    assert "mask 100.0% equal" in said.out


def test_without_a_scorer_the_gate_holds_each_output_and_says_so(run: Path, forked) -> None:
    said = forked("gate", "run", "--json", cwd=run.parent)
    assert said.code == 0, said.err
    metrics = [check["metric"] for check in said.json()["checks"]]
    assert metrics == [
        "outputs.map.signal_to_noise_db", "outputs.mask.equal_percent",
        "outputs.vector.signal_to_noise_db",
    ]  # fmt: skip
    assert "no scorer says what it is worth" in " ".join(said.err.split())


@pytest.mark.parametrize(
    ("limit", "answer"),
    [
        ('"outputs.map.signal_to_noise_db" = { min = 150 }', (1, "is not")),
        ('"outputs.nap.equal_percent" = { min = 1 }', (1, "the bundle has no output 'nap'")),
        ("score = { min = 0.5 }", (1, "nobody scored it")),
        ('"outputs.mask.equal_percent" = { max_regression = 1 }', (2, "give max or min")),
        ('"outputs.mask.equals" = { min = 1 }', (2, "unknown metric")),
    ],
)
def test_a_budget_can_ask_for_more(run: Path, forked, tmp_path, limit, answer) -> None:
    (tmp_path / "budget.toml").write_text(f"[limits]\n{limit}\n")
    said = forked("gate", "run", "--budget", tmp_path / "budget.toml", "--json", cwd=run.parent)
    code, words = answer
    assert said.code == code, said.err
    assert words in f"{said.out} {said.err}"


def test_outputs_are_what_a_report_shows(run: Path, forked) -> None:
    said = forked("report", "run", cwd=run.parent)
    assert said.code == 0, said.err
    summary = (run / "report.md").read_text()
    assert "Outputs on the device" in summary
    assert "top-1" not in summary
    assert "mask" in (run / "report.html").read_text()


def test_a_bundle_is_verified_output_by_output(run: Path, forked, tmp_path) -> None:
    folder = tmp_path / "int8"
    shutil.copytree(run / "bundles/local-onnx-int8", folder)
    said = forked("bundle", "verify", folder, "--json", cwd=run.parent)
    assert said.code == 0, said.err
    checks = {check["what"]: check["found"] for check in said.json()["checks"]}
    assert checks["probe"] == "7 samples, 3 outputs"
    assert "mask" in checks["model"]
    (folder / "model.onnx").write_bytes(b"other")
    assert forked("bundle", "verify", folder, cwd=run.parent).code == 16


def test_two_bundles_are_timed_in_turns(run: Path, forked) -> None:
    said = forked(
        "bench", "run", "--bundle", "local-onnx-int8", "--against", "run/bundles/local-onnx-fp32",
        "--rounds", "7", *QUICK, "--json", cwd=run.parent,
    )  # fmt: skip
    assert said.code == 0, said.err
    assert said.json()["comparisons"][0]["candidates"][0]["parity"]["outputs"]


def test_what_is_for_classifiers_says_so(run: Path, forked, tmp_path) -> None:
    for arguments, words in (
        (["estimate", "run", "--target", "rpi"], "this is for classifiers"),
        (["bench", "run", "--batch", "4", *QUICK], "takes one sample a query"),
        (["report", "run", "run"], None),
        (["distill", "--data", "arrays:samples.npz"], "distillation is for classifiers"),
    ):
        if words is not None:
            said = forked(*arguments, cwd=run.parent)
            assert said.code not in (0, 70), said.out
            assert words in " ".join(said.err.split())


def test_a_scorer_is_asked_and_the_gate_goes_by_it(place: Path, forked) -> None:
    said = forked(
        "export", "two.onnx", "--data", "loader:mine:samples", "--scorer", "mine:score", *SHAPE,
        "--format", "onnx", "--precision", "int8", "--max-drop", "60", "--run", "scored",
        "--json", cwd=place,
    )  # fmt: skip
    assert said.code == 0, said.err
    accuracy = said.json()["bundles"][0]["accuracy"]
    assert accuracy["scorer"] == "mine:score"
    assert 0 < accuracy["scores"]["classes"] <= 1
    manifest = open_any_bundle(place / "scored/bundles/local-onnx-int8").manifest
    assert manifest.accuracy["n"] == 15  # six of the probe, and half of the rest
    assert forked("bench", "scored", *QUICK, cwd=place).code == 0
    verdict = forked("gate", "scored", "--json", cwd=place).json()
    assert [(c["metric"], c["limit"]) for c in verdict["checks"]] == [("score_drop_points", 60)]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--data", "arrays:samples.npz"], 20, "sizes that are free"),
        (["--data", "arrays:none.npz", *SHAPE], 10, "no such file"),
        (["--data", "arrays:samples.npz", *SHAPE, "--precision", "auto"], 11, "classifiers alone"),
        (["--data", "arrays:samples.npz", *SHAPE, "--max-drop", "1"], 11, "--scorer"),
        (["--data", "arrays:samples.npz", *SHAPE, "--image-size", "8"], 11, "leave it out"),
        (["--data", "folder:.", *SHAPE], 11, "goes with a graph that is no classifier"),
        (
            ["--data", "arrays:samples.npz", *SHAPE, "--scorer", "mine:fails", "--format", "onnx"],
            19,
            "scorer mine:fails gave 'good'",
        ),
    ],
)
def test_what_cannot_be_exported_is_told_in_a_line(
    place: Path, forked, arguments, code, words
) -> None:
    said = forked("export", "two.onnx", *arguments, "--run", "refused", cwd=place)
    assert said.code == code, said.err
    assert words in " ".join(said.err.split())
    shutil.rmtree(place / "refused", ignore_errors=True)


def test_code_that_a_recipe_names_needs_a_yes(place: Path, run: Path, forked, tmp_path) -> None:
    own = tmp_path / "copy"
    shutil.copytree(run, own)
    recipe = own / "recipe.toml"
    text = recipe.read_text()
    assert "[export]" in text
    recipe.write_text(text.replace("[export]", '[export]\nscorer = "mine:score"', 1))
    said = forked("export", own, cwd=place)
    assert said.code == 24, said.err
    assert "mine:score" in said.err
    assert json.loads((own / "run.json").read_text())["adopted"] == "two.onnx"
