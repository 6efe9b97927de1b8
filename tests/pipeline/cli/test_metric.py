"""A metric of one's own on the command line: trusted, told of, kept and limited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

MINE = """\
def hits(logits, labels, ids):
    right = logits.argmax(1) == labels
    return {"hits": right.mean(), "even": right[ids % 2 == 0].mean()}

def broken(logits, labels, ids):
    return labels.no_such_thing
"""
BUDGET = """\
[limits]
macro_f1_points = { min = 0.5 }
recall.3 = { max = 101 }
worst_class_drop_points = { max = 99 }
metric.hits = { min = 0.001, max_regression = 0.9, against = "teacher" }
"""


@pytest.fixture
def mine(own, tmp_path: Path):
    (tmp_path / "mine.py").write_text(MINE)
    return own


def test_is_kept_of_each_bundle_and_limited_by_the_gate(
    mine, forked, tmp_path: Path, monkeypatch
) -> None:
    arguments = ("--metric", "mine:hits", "--precision", "fp32", "--format", "onnx")
    said = forked("export", "runs/tiny", *arguments, cwd=tmp_path)
    assert said.code == 0, said.err
    assert "metric: imports mine:hits from" in said.err
    kept = json.loads((mine.findings / "local-onnx-fp32" / "metric.json").read_text())
    assert list(kept["values"]) == ["hits", "even"]
    accuracy = json.loads((mine.bundles / "local-onnx-fp32/bundle.json").read_text())["accuracy"]
    assert kept["values"]["hits"] == pytest.approx(accuracy["top1"])
    (tmp_path / "budget.toml").write_text(BUDGET.replace("101", "100"))
    said = forked("gate", "runs/tiny", "--budget", "budget.toml", "--bundle", "local-onnx-fp32",
                  "--json", cwd=tmp_path)  # fmt: skip
    assert said.code == 2
    assert "every figure keeps that limit" in said.complaint
    (tmp_path / "budget.toml").write_text(BUDGET.replace("max = 101", "min = 0.01"))
    said = forked("gate", "runs/tiny", "--budget", "budget.toml", "--bundle", "local-onnx-fp32",
                  "--json", cwd=tmp_path)  # fmt: skip
    checks = {(one["metric"], one["kind"]): one for one in said.json()["checks"]}
    assert checks["metric.hits", "min"]["value"] == pytest.approx(accuracy["top1"])
    assert checks["metric.hits", "max_regression"]["basis"] == "same images"
    assert checks["worst_class_drop_points", "max"]["basis"] == "same images"
    assert checks["recall.3", "min"]["value"] is not None


def test_that_fails_is_told_of_in_a_line_that_says_where(mine, forked, tmp_path: Path) -> None:
    said = forked("export", "runs/tiny", "--metric", "mine:broken", cwd=tmp_path)
    assert said.code == 19
    assert "metric mine:broken failed on" in said.complaint
    assert "(mine.py line 6)" in said.complaint


def test_in_a_recipe_needs_a_yes(mine, forked, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text('metric = "mine:hits"\n' + recipe.read_text())
    said = forked("distill", "tiny.toml", "--run", "runs/new", cwd=tmp_path)
    assert said.code == 24
    assert "tiny.toml line 1, metric: this recipe runs code of mine:hits" in said.complaint


def test_that_there_is_none_of_is_told_before_any_work(mine, forked, tmp_path: Path) -> None:
    said = forked("distill", "tiny.toml", "--metric", "macro_f2", cwd=tmp_path)
    assert said.code == 12
    assert "did you mean 'macro_f1'" in said.complaint


def test_of_a_unit_of_its_own_auto_must_be_told_what_may_be_lost(
    mine, forked, tmp_path: Path
) -> None:
    said = forked("export", "runs/tiny", "--metric", "mine:hits", "--precision", "auto",
                  cwd=tmp_path)  # fmt: skip
    assert said.code == 11
    assert "say it with --max-drop" in said.complaint


def test_a_class_that_there_is_none_of_is_told_before_the_training(
    mine, forked, tmp_path: Path
) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(recipe.read_text() + "recall.30 = { min = 90 }\n")
    said = forked("distill", "tiny.toml", "--run", "runs/new", cwd=tmp_path)
    assert said.code == 12
    assert "unknown class '30', did you mean '3'" in said.complaint
    assert not (tmp_path / "runs/new/teacher").exists()
