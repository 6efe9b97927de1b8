"""The comparisons that were planned: which arms they are of, and what they come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.recipe.file import RecipeFile, load_recipe
from pipeline.study.arms import Arm, all_arms
from pipeline.study.folder import ArmResult, StudyFolder
from pipeline.study.planned import PlannedComparison, own_arm, planned_comparisons, proving_arms
from pipeline.study.study import list_tasks

STAGES = """\
[[stages]]
methods = "at"
epochs = 2

[[stages]]
methods = "kd"
epochs = 3
"""
Plan = Callable[..., tuple[RecipeFile, dict[str, Arm]]]
# Test top-1 by arm, three seeds each; validation top-1 of the methods by themselves says at.
TESTS = {
    "smskd-tcp": (0.71, 0.72, 0.73),
    "kd": (0.70, 0.70, 0.70),
    "at": (0.69, 0.70, 0.69),
    "simultaneous": (0.70, 0.705, 0.74),
    "sakd": (0.60, 0.61, 0.63),
}
VALIDATION = {"kd": 0.5, "at": 0.6}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    def load(study: str = "", stages: str = STAGES) -> tuple[RecipeFile, dict[str, Arm]]:
        path = tmp_path / "study.toml"
        path.write_text(f"{stages}\n[study]\n{study}\n")
        file = load_recipe(path)
        return file, all_arms(file)

    return load


def results(names: Sequence[str] = tuple(TESTS)) -> dict[str, list[ArmResult]]:
    return {
        name: [
            ArmResult(
                fingerprint="", arm=name, seed=seed, validation_top1=VALIDATION.get(name, 0.4),
                test_top1=top1, history=[], after_stage=[], seconds_per_epoch=1.0, retention=None,
            )
            for seed, top1 in enumerate(TESTS[name])
        ]
        for name in names
    }  # fmt: skip


def test_the_recipes_own_stages_are_an_arm_by_its_weighting(plan: Plan) -> None:
    assert own_arm(*plan()) == "smskd-tcp"
    constant = STAGES.replace('methods = "kd"', 'methods = "kd"\nweighting = "constant"')
    assert own_arm(*plan(stages=constant)) == "smskd-constant"
    assert own_arm(*plan(stages=STAGES.replace("epochs = 3", "epochs = 3\ncarry = 0.2"))) == (
        "smskd-carry-tcp"
    )


def test_stages_of_several_weightings_or_one_stage_are_no_arm(plan: Plan) -> None:
    third = '[[stages]]\nmethods = "rkd"\nweighting = "constant"\nepochs = 1\n'
    assert own_arm(*plan(stages=STAGES + third)) is None
    assert own_arm(*plan(stages='[[stages]]\nmethods = "kd"\nepochs = 1\n')) is None


def test_the_plan_is_against_the_best_single_method_all_at_once_and_sakd(plan: Plan) -> None:
    found = planned_comparisons(*plan(), results())
    assert [(one.planned, one.against) for one in found] == [
        ("best-single", "at"),
        ("simultaneous", "simultaneous"),
        ("sakd", "sakd"),
    ]
    assert {one.arm for one in found} == {"smskd-tcp"}
    at, at_once, sakd = found
    # differences 2, 2 and 4 points: mean 8/3, deviation 2/√3, d_z = 4/√3
    assert at.difference == pytest.approx(0.08 / 3)
    assert at.effect == pytest.approx(4 / 3**0.5)
    # with 2 degrees of freedom p is 1 − t / √(t² + 2): t = d_z · √3 = 4
    assert at.p == pytest.approx(1 - 4 / 18**0.5, rel=1e-6)
    assert sakd.p is not None
    assert at_once.p is not None
    assert sakd.p < at.p < at_once.p
    assert [one.p_holm for one in (sakd, at, at_once)] == pytest.approx(
        [3 * sakd.p, 2 * at.p, at_once.p]
    )


def test_the_best_single_method_is_the_best_over_the_seeds_that_all_of_them_have(
    plan: Plan,
) -> None:
    runs = results()
    runs["at"] = runs["at"][:1]  # 60 % on the validation images
    runs["kd"] = [replace(runs["kd"][0], validation_top1=0.5), *runs["kd"][1:]]
    runs["kd"][1:] = [replace(run, validation_top1=0.9) for run in runs["kd"][1:]]
    best = planned_comparisons(*plan(), runs)[0]
    assert (best.against, best.n) == ("at", 1)


def test_the_arms_that_a_study_is_made_for_are_its_own_the_baseline_and_the_planned(
    plan: Plan,
) -> None:
    # at may turn out to be the best single method
    assert proving_arms(*plan()) == {"smskd-tcp", "kd", "at", "simultaneous", "sakd"}
    tried = 'planned = ["sakd"]\nbaseline_schedules = ["cosine", "linear"]'
    assert proving_arms(*plan(tried)) == {
        "smskd-tcp", "kd-cosine", "kd-linear", "sakd-cosine", "sakd-linear",
    }  # fmt: skip


def test_arms_that_only_explain_may_have_fewer_seeds(plan: Plan, tmp_path: Path) -> None:
    file, arms = plan("seeds = 3\nexplaining_seeds = 1")
    tasks = list_tasks(file, StudyFolder(tmp_path, tmp_path), arms)
    seeds = {name: [t.seed for t in tasks if t.arm and t.arm.name == name] for name in arms}
    assert seeds["smskd-tcp"] == seeds["kd"] == seeds["at"] == [0, 1, 2]
    assert seeds["alone"] == seeds["smskd-none"] == [0]


def test_what_has_no_result_is_not_compared_and_not_counted(plan: Plan) -> None:
    (only,) = planned_comparisons(*plan(), results(["smskd-tcp", "kd"]))
    assert (only.against, only.p_holm) == ("kd", only.p)
    assert planned_comparisons(*plan(), results(["kd", "sakd"])) == []


def test_other_arms_may_be_planned(plan: Plan) -> None:
    found = planned_comparisons(*plan('planned = ["kd"]'), results())
    assert [(one.planned, one.against) for one in found] == [("kd", "kd")]
    assert planned_comparisons(*plan("planned = []"), results()) == []


def test_one_seed_has_a_difference_alone(plan: Plan) -> None:
    single = {name: runs[:1] for name, runs in results().items()}
    first: PlannedComparison = planned_comparisons(*plan(), single)[0]
    assert first.difference == pytest.approx(0.02)
    assert (first.low, first.high, first.p, first.p_holm, first.effect, first.n) == (
        *(None,) * 5, 1,
    )  # fmt: skip
