"""A verdict rests on what the run made: every way of putting something else there is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy_targets.comparison import ratio_to_baseline, write_comparison
from deploy_targets.estimating.estimate import file_name
from deploy_targets.measurement import read_measurement, write_measurement
from foundation.errors import CompressError, CorruptFileError, MissingFileError, UsageError
from foundation.files import read_json, write_json
from pipeline.commands.estimate import estimate_only
from pipeline.commands.gate import changed_budget
from pipeline.gating.evidence import evidence_in
from pipeline.gating.gate import gate
from pipeline.gating.judging import check_limits
from pipeline.gating.verdict import FAIL, verdict_of
from pipeline.recipe.sections.gate import GateRecipe, Limit
from pipeline.run_folder.folder import RunFolder

NAME = "local-onnx-int8"
BUDGET = GateRecipe(limits={"size_mb": Limit(max=5.0), "top1_percent": Limit(min=1.0)})

Spoil = Callable[[RunFolder], None]


def measurement(run: RunFolder) -> Path:
    return run.bench / f"{NAME}@local.json"


def edited(path: Path, *place: str, value: Any) -> None:
    """Another value in a JSON file, and nothing else changed."""
    content = node = read_json(path)
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    write_json(path, content)


def better_accuracy(run: RunFolder) -> None:
    edited(measurement(run), "accuracy", "top1", value=1.0)


def of_a_bundle_that_is_not_there(run: RunFolder) -> None:
    edited(measurement(run), "bundle", "name", value="ghost")
    measurement(run).rename(run.bench / "ghost@local.json")


def renamed_file(run: RunFolder) -> None:
    measurement(run).rename(run.bench / f"{NAME}@ssh_pi.json")


def under_another_host(run: RunFolder) -> None:
    shutil.copy(measurement(run), run.bench / f"{NAME}@ssh_pi.json")


def linked_to_another(run: RunFolder) -> None:
    elsewhere = run.path.parent / "elsewhere.json"
    write_measurement(elsewhere, replace(read_measurement(measurement(run)), seconds=1.5))
    measurement(run).unlink()
    measurement(run).symlink_to(elsewhere)


def from_an_earlier_export(run: RunFolder) -> None:
    (run.bundles / NAME / "bundle.json").write_text(
        (run.bundles / NAME / "bundle.json").read_text() + "\n"
    )


def taken_away(run: RunFolder) -> None:
    measurement(run).unlink()


def with_another_model(run: RunFolder) -> None:
    model = run.bundles / NAME / "model.onnx"
    model.write_bytes(model.read_bytes() + b"\0")


def without_its_model(run: RunFolder) -> None:
    (run.bundles / NAME / "model.onnx").unlink()


def without_its_bundle(run: RunFolder) -> None:
    shutil.rmtree(run.bundles / NAME)


def a_run_without_steps(run: RunFolder) -> None:
    run.note(steps={})


def an_estimate_as_a_measurement(run: RunFolder) -> None:
    estimate_only(run.path, "rpi4", [NAME], None, [])
    shutil.move(run.bench / file_name(NAME, "rpi4"), measurement(run))


def a_comparison_from_elsewhere(run: RunFolder) -> None:
    run.comparisons.mkdir(exist_ok=True)
    (run.comparisons / "planted.json").write_text("{}")


def a_measurement_that_is_no_json(run: RunFolder) -> None:
    measurement(run).write_text("{")


SPOILT: list[tuple[Spoil, type[CompressError], str]] = [
    (better_accuracy, CorruptFileError, "changed since it was made"),
    (of_a_bundle_that_is_not_there, MissingFileError, "gone, though"),
    (renamed_file, MissingFileError, "gone, though"),
    (under_another_host, CorruptFileError, "does not list it"),
    (linked_to_another, CorruptFileError, "changed since it was made"),
    (from_an_earlier_export, MissingFileError, "exported anew since"),
    (taken_away, MissingFileError, "gone, though"),
    (with_another_model, CorruptFileError, r"model\.onnx: checksum differs"),
    (without_its_model, MissingFileError, r"model\.onnx: no such file"),
    (without_its_bundle, MissingFileError, "which is not in"),
    (a_run_without_steps, CorruptFileError, "does not list it"),
    (an_estimate_as_a_measurement, CorruptFileError, "changed since it was made"),
    (a_comparison_from_elsewhere, CorruptFileError, "does not list it"),
    (a_measurement_that_is_no_json, CorruptFileError, "changed since it was made"),
]


@pytest.mark.parametrize(
    ("spoil", "kind", "words"), SPOILT, ids=[spoil.__name__ for spoil, *_ in SPOILT]
)
def test_what_the_run_did_not_make_is_refused_and_leaves_the_verdict_that_was(
    own: RunFolder, spoil: Spoil, kind: type[CompressError], words: str
) -> None:
    spoil(own)
    before = own.verdict_path.read_bytes()
    with pytest.raises(kind, match=words):
        gate(own, BUDGET)
    assert own.verdict_path.read_bytes() == before


@pytest.mark.parametrize("key", ["name", "role", "precision", "model_bytes"])
def test_a_record_that_says_otherwise_of_its_bundle_is_refused_even_where_it_is_listed(
    own: RunFolder, list_anew, key: str
) -> None:
    there = {"name": "local-onnx-fp32", "role": "teacher", "precision": "fp32", "model_bytes": 9}
    edited(measurement(own), "bundle", key, value=there[key])
    list_anew(own)
    with pytest.raises((CorruptFileError, MissingFileError), match=r"says that|exported anew"):
        gate(own, BUDGET)


def test_a_measurement_of_a_bundle_that_went_may_go_too(own: RunFolder) -> None:
    without_its_bundle(own)
    taken_away(own)
    assert gate(own, BUDGET).passed


def test_a_comparison_that_was_changed_is_refused(
    own: RunFolder, list_anew, compared: Callable[..., Any]
) -> None:
    one = read_measurement(measurement(own))
    own.comparisons.mkdir(exist_ok=True)
    path = own.comparisons / "turns.json"
    turns = compared(one, one, [1.0] * 8)
    first, second = turns.candidates
    ratio = ratio_to_baseline(second.round_ms, first.round_ms)
    turns = replace(turns, candidates=[first, replace(second, against_baseline=ratio)])
    write_comparison(path, turns)
    list_anew(own)
    assert gate(own, BUDGET).passed
    write_comparison(path, replace(turns, seconds=1.0))
    with pytest.raises(CorruptFileError, match=r"turns\.json: changed"):
        gate(own, BUDGET)


def test_a_baselines_run_is_held_to_the_same_but_needs_no_bundles(
    own: RunFolder, tmp_path: Path
) -> None:
    older = RunFolder(Path(shutil.copytree(own.path, tmp_path / "older")))
    limits = {"size_mb": Limit(max_regression=1.0)}
    rules = BUDGET.model_copy(update={"limits": limits, "baseline": str(older.path)})
    shutil.rmtree(older.bundles)
    assert gate(own, rules).passed
    edited(measurement(older), "bundle", "model_bytes", value=1)
    with pytest.raises(CorruptFileError, match="changed since it was made"):
        gate(own, rules)


def test_a_file_that_is_named_alone_is_as_its_run_lists_it_and_else_stands_for_itself(
    own: RunFolder, tmp_path: Path
) -> None:
    alone = Path(shutil.copy(measurement(own), tmp_path / "alone.json"))
    edited(alone, "seconds", value=1.5)
    assert evidence_in([measurement(own), alone]).measurements
    edited(measurement(own), "seconds", value=1.5)
    with pytest.raises(CorruptFileError, match="changed since it was made"):
        evidence_in([measurement(own)])


def test_an_estimate_is_listed_when_it_is_made_and_judged_only_so(own: RunFolder) -> None:
    estimate_only(own.path, "rpi4", [NAME], None, [])
    rules = changed_budget(BUDGET, {"allow_estimate": True, "bundles": [NAME]})
    assert {check.basis for check in gate(own, rules).checks} >= {"estimate"}
    edited(own.bench / file_name(NAME, "rpi4"), "latency_ms", "value", value=0.5)
    with pytest.raises(CorruptFileError, match="changed since it was made"):
        gate(own, rules)


@pytest.mark.parametrize(
    ("metric", "limit", "words"),
    [
        ("latency_p50_ms", {"max": -1.0}, "makes no sense"),
        ("latency_p50_ms", {"min": 2.0, "max": 1.0}, "nothing keeps both"),
        ("latency_p50_ms", {"min": 0.0}, "limits nothing"),
        ("latency_p50_ms", {"max_regression": -101.0}, "makes no sense"),
        ("throughput_ips", {"max_regression": 100.0}, "limits nothing"),
        ("size_mb", {"min": -5.0}, "makes no sense"),
        ("top1_percent", {"max": 100.0}, "limits nothing"),
        ("top1_percent", {"min": 101.0}, "makes no sense"),
        ("drop_vs_teacher_points", {"min": -100.0}, "limits nothing"),
        ("drop_vs_teacher_points", {"max": 1e9}, "makes no sense"),
    ],
)
def test_a_limit_that_nothing_could_keep_or_break_is_wrong_use(metric, limit, words) -> None:
    with pytest.raises(UsageError, match=words):
        check_limits(GateRecipe(limits={metric: Limit(**limit)}))


@pytest.mark.parametrize(
    ("metric", "limit"),
    [
        ("top1_percent", {"min": 85.0, "max": 100.0}),
        ("throughput_ips", {"max_regression": -300.0}),
        ("latency_p50_ms", {"max_regression": 900.0}),
        ("drop_vs_teacher_points", {"max": -0.5}),
    ],
)
def test_a_limit_that_some_figures_keep_and_others_break_is_one(metric, limit) -> None:
    check_limits(GateRecipe(limits={metric: Limit(**limit)}))


def test_where_nothing_was_checked_nothing_passes() -> None:
    assert verdict_of([]).verdict == FAIL


@pytest.mark.parametrize(
    "text",
    [
        "bundles = []\n[limits]\nsize_mb = { max = 5.0 }",
        "[limits]\nsize_mb = { max = nan }",
        "[limits]\nsize_mb = { max = inf }",
        "[limits]\nsize_kb = { max = 5.0 }",
    ],
)
def test_a_budget_with_nothing_to_judge_by_is_exit_code_2(
    own: RunFolder, forked, tmp_path: Path, text: str
) -> None:
    (tmp_path / "budget.toml").write_text(text)
    said = forked("gate", "--budget", "budget.toml", cwd=tmp_path)
    assert said.code == 2
    assert said.complaint


def test_the_record_of_a_run_says_what_is_wrong_in_it(own: RunFolder) -> None:
    content = json.loads(own.record_path.read_text())
    content["steps"]["teacher"]["products"] = {"../secret": "0" * 64}
    own.record_path.write_text(json.dumps(content))
    with pytest.raises(CorruptFileError, match=r"run\.json: not the record of a run.*within the"):
        own.record()
