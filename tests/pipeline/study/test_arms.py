from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import CompressError, RecipeError, UnknownNameError
from pipeline.recipe.file import RecipeFile, load_recipe
from pipeline.recipe.sections.training import StageRecipe
from pipeline.study.arms import (
    Arm,
    all_arms,
    baseline_name,
    chosen_arms,
    distribute,
    equal_compute_epochs,
)
from smskd.stage import MethodSpec, Stage
from smskd.weightings import WEIGHTINGS

RECIPE = """\
[[stages]]
methods = [{ name = "kd", weight = 0.9, settings = { temperature = 3.0 } }]
epochs = 5
ce_weight = 0.1
lr = 0.02
momentum = 0.8

[[stages]]
methods = [{ name = "at", weight = 200.0 }]
epochs = 3
lr = 0.01
ce_weight = 0.7
weighting = "constant"

[[stages]]
methods = "rkd"
epochs = 4
schedule = "cosine"
"""
OPTIMIZER = ("optimizer", "lr", "momentum", "weight_decay", "norm_weight_decay", "schedule",
             "step_epochs", "warmup_epochs", "hold_epochs", "warm_lr", "max_grad_norm",
             "accumulate", "ema_decay", "keep", "label_loss", "label_smoothing")  # fmt: skip


def values_of(stage: StageRecipe) -> dict[str, Any]:
    """What the library knows of a stage; pruning is the recipe's own."""
    return {name: value for name, value in stage.as_dict().items() if name != "prune"}


def file_of(folder: Path, study: str = "", stages: str = RECIPE) -> RecipeFile:
    path = folder / "study.toml"
    path.write_text(f"{stages}\n[study]\n{study}\n")
    return load_recipe(path)


@pytest.fixture
def arms(tmp_path: Path) -> dict[str, Arm]:
    further = 'orders = [["at", "rkd", "kd"]]\nstage_counts = [1, 2]'
    return all_arms(file_of(tmp_path, further))


def test_the_arms_are_the_comparisons_that_the_claim_needs(arms: dict[str, Arm]) -> None:
    weighted = {f"smskd-{name}" for name in WEIGHTINGS.names()}
    assert {"smskd-none", "smskd-constant", "smskd-tcp", "smskd-inverse-tcp"} <= weighted
    assert set(arms) == weighted | {
        "alone", "kd", "at", "rkd", "simultaneous", "sakd",
        "order-at-rkd-kd", "smskd-1-stage", "smskd-2-stages",
    }  # fmt: skip
    assert all(name == arm.name and arm.words for name, arm in arms.items())


def test_every_arm_has_the_same_budget(arms: dict[str, Arm]) -> None:
    assert {arm.epochs for arm in arms.values()} == {12}


@pytest.mark.parametrize("name", ["alone", "kd", "at", "rkd", "simultaneous", "sakd"])
def test_an_arm_of_one_schedule_trains_as_the_first_stage_says(
    arms: dict[str, Arm], tmp_path: Path, name: str
) -> None:
    first = file_of(tmp_path).recipe.stages[0]
    (stage,) = arms[name].stages
    assert [getattr(stage, key) for key in OPTIMIZER] == [getattr(first, key) for key in OPTIMIZER]


def test_a_method_by_itself_keeps_the_weights_of_its_stage(arms: dict[str, Arm]) -> None:
    (kd,), (at,) = arms["kd"].stages, arms["at"].stages
    assert (kd.ce_weight, at.ce_weight) == (0.1, 0.7)
    assert kd.method_specs[0].settings == {"temperature": 3.0}
    assert at.method_specs[0].weight == 200.0


def test_a_method_by_itself_has_its_own_weight_of_the_labels_where_its_stage_has_none(
    tmp_path: Path,
) -> None:
    together = '[[stages]]\nmethods = ["kd", "at"]\nepochs = 2\n'
    arms = all_arms(file_of(tmp_path, stages=together))
    weights = {name: arms[name].stages[0].ce_weight for name in ("kd", "at", "simultaneous")}
    assert weights == {"kd": 0.1, "at": 1.0, "simultaneous": 1.0}


def test_the_student_alone_has_no_method_and_the_whole_weight_on_the_labels(
    arms: dict[str, Arm],
) -> None:
    (stage,) = arms["alone"].stages
    assert stage.methods == ()
    assert stage.ce_weight == 1.0


def test_all_at_once_holds_every_method_with_its_weight(arms: dict[str, Arm]) -> None:
    (stage,) = arms["simultaneous"].stages
    weights = {method.name: method.weight for method in stage.method_specs}
    assert weights == {"kd": 0.9, "at": 200.0, "rkd": 1.0}
    assert stage.ce_weight == 1.0


def test_the_smskd_arms_differ_in_the_weighting_alone(arms: dict[str, Arm], tmp_path: Path) -> None:
    asked = [values_of(stage) for stage in file_of(tmp_path).recipe.spelled_out().stages]
    for weighting in WEIGHTINGS.names():
        stages = [stage.as_dict() for stage in arms[f"smskd-{weighting}"].stages]
        assert {stage["weighting"] for stage in stages} == {weighting}
        assert [{**s, "weighting": ""} for s in stages] == [{**s, "weighting": ""} for s in asked]


def test_an_order_takes_each_stage_with_all_its_settings(
    arms: dict[str, Arm], tmp_path: Path
) -> None:
    kd, at, rkd = (values_of(stage) for stage in file_of(tmp_path).recipe.spelled_out().stages)
    assert [stage.as_dict() for stage in arms["order-at-rkd-kd"].stages] == [at, rkd, kd]


def test_the_first_stages_share_the_whole_budget_in_proportion(arms: dict[str, Arm]) -> None:
    assert [stage.epochs for stage in arms["smskd-2-stages"].stages] == [7, 5]  # of 5 and 3
    assert [stage.epochs for stage in arms["smskd-1-stage"].stages] == [12]


@pytest.mark.parametrize(
    ("budget", "shares", "epochs"),
    [(12, [5, 3, 4], [5, 3, 4]), (10, [1, 1, 1], [3, 3, 4]), (5, [2, 1], [3, 2]), (7, [1], [7])],
)
def test_epochs_are_spread_with_none_left_over(
    budget: int, shares: list[int], epochs: list[int]
) -> None:
    assert distribute(budget, shares) == epochs


@pytest.mark.parametrize(
    ("study", "methods"),
    [("", ("at",)), ('sakd_methods = ["at", "fitnet"]', ("at", "fitnet"))],
)
def test_sakd_is_put_around_the_feature_methods(
    tmp_path: Path, study: str, methods: tuple[str, ...]
) -> None:
    (stage,) = all_arms(file_of(tmp_path, study))["sakd"].stages
    assert stage.method_specs == (MethodSpec("sakd", 1.0, {"methods": methods}),)
    assert stage.ce_weight == 2.0  # its authors'


def test_sakd_is_put_around_attention_where_no_stage_has_a_feature_method(tmp_path: Path) -> None:
    only_kd = '[[stages]]\nmethods = "kd"\n'
    (stage,) = all_arms(file_of(tmp_path, stages=only_kd))["sakd"].stages
    assert stage.method_specs[0].settings == {"methods": ("at",)}


def test_one_stage_of_one_method_leaves_no_arm_that_would_be_the_same(tmp_path: Path) -> None:
    assert set(all_arms(file_of(tmp_path, stages='[[stages]]\nmethods = "kd"\n'))) == {
        "alone", "kd", "sakd",
    }  # fmt: skip


def test_a_recipe_that_names_sakd_keeps_its_own_settings_of_it(tmp_path: Path) -> None:
    own = '[[stages]]\nmethods = [{ name = "sakd", weight = 2.0 }]\n'
    (stage,) = all_arms(file_of(tmp_path, stages=own))["sakd"].stages
    assert stage.method_specs[0].weight == 2.0


def test_the_baseline_is_plain_kd_or_else_the_first_method(tmp_path: Path) -> None:
    assert baseline_name(file_of(tmp_path)) == "kd"
    others = '[[stages]]\nmethods = "rkd"\n[[stages]]\nmethods = "at"\n'
    assert baseline_name(file_of(tmp_path, stages=others)) == "rkd"


def test_chosen_arms_come_in_the_order_of_the_table(tmp_path: Path) -> None:
    assert list(chosen_arms(file_of(tmp_path, 'arms = ["smskd-tcp", "alone"]'))) == [
        "alone", "smskd-tcp",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("study", "kind", "words"),
    [
        ('arms = ["smskd-tpc"]', UnknownNameError, ["study.arms[0]", "smskd-tcp"]),
        ('orders = [["at", "kd"]]', RecipeError, ["study.orders[0]", "every stage once"]),
        ('orders = [["at", "kd", "kd"]]', RecipeError, ["study.orders[0]", "every stage once"]),
        ('orders = [["at", "kd", "rdk"]]', UnknownNameError, ["study.orders[0]", "'rkd'"]),
        ("stage_counts = [4]", RecipeError, ["study.stage_counts[0]", "3 stages", "4"]),
        ('sakd_methods = ["kd"]', UnknownNameError, ["study.sakd_methods[0]", "'kd'"]),
    ],
)
def test_what_cannot_be_an_arm_is_told_of_with_its_place(
    tmp_path: Path, study: str, kind: type[CompressError], words: list[str]
) -> None:
    with pytest.raises(kind) as refused:
        chosen_arms(file_of(tmp_path, study))
    assert all(word in str(refused.value) for word in ["line", *words])


def test_arms_are_stages_of_the_library_and_not_of_the_recipe(arms: dict[str, Arm]) -> None:
    # A recipe's stage refuses to be without methods, which the student alone is.
    assert {type(stage) for arm in arms.values() for stage in arm.stages} == {Stage}


def test_a_study_refuses_a_stage_that_prunes(tmp_path: Path) -> None:
    file = file_of(tmp_path, stages=f"{RECIPE}prune = 0.3\n")
    with pytest.raises(RecipeError, match=r"stages\[2\]\.prune: .*student\.prune"):
        chosen_arms(file)


SHARED = """\
[[stages]]
methods = "at"
epochs = 6
lr = 0.1
schedule = "constant"

[[stages]]
methods = "kd"
epochs = 4
schedule = "shared"
"""


def test_an_arm_of_one_schedule_never_has_a_rate_that_does_not_fall(tmp_path: Path) -> None:
    arms = all_arms(file_of(tmp_path, stages=SHARED))
    for name in ("alone", "at", "kd", "simultaneous", "sakd"):
        (stage,) = arms[name].stages
        assert (stage.schedule, stage.lr, stage.epochs) == ("cosine", 0.1, 10)
    # SMSKD is what the recipe says.
    assert [stage.schedule for stage in arms["smskd-tcp"].stages] == ["constant", "shared"]


def test_each_arm_of_one_schedule_is_tried_with_each_that_is_asked(tmp_path: Path) -> None:
    study = 'baseline_schedules = ["cosine", "linear"]\narms = ["at", "smskd-tcp"]'
    arms = chosen_arms(file_of(tmp_path, study, SHARED))
    assert list(arms) == ["at-cosine", "at-linear", "smskd-tcp"]
    assert [arm.trial_of for arm in arms.values()] == ["at", "at", None]
    assert [arm.stages[0].schedule for arm in arms.values()] == ["cosine", "linear", "constant"]


def test_one_schedule_that_is_asked_for_is_no_trial(tmp_path: Path) -> None:
    arms = all_arms(file_of(tmp_path, 'baseline_schedules = ["linear"]', SHARED))
    assert (arms["kd"].stages[0].schedule, arms["kd"].trial_of) == ("linear", None)


@pytest.mark.parametrize("name", ["constant", "step"])
def test_a_schedule_that_does_not_fall_within_the_budget_is_not_tried(
    tmp_path: Path, name: str
) -> None:
    file = file_of(tmp_path, f'baseline_schedules = ["linear", "{name}"]', SHARED)
    with pytest.raises(RecipeError, match=rf"study\.baseline_schedules\[1\]: {name} does not fall"):
        all_arms(file)


def test_what_restarts_cost_has_arms_of_its_own(tmp_path: Path) -> None:
    file = file_of(tmp_path, "compare_restarts = true")
    arms = all_arms(file)
    shared = arms["smskd-one-schedule"].stages
    assert [(stage.schedule, stage.lr) for stage in shared] == [
        ("cosine", 0.02), ("shared", None), ("shared", None),
    ]  # fmt: skip
    restarts = arms["simultaneous-restarts"].stages
    assert [(stage.name, stage.epochs, stage.lr) for stage in restarts] == [
        ("kd+at+rkd", 5, 0.02), ("kd+at+rkd", 3, 0.01), ("kd+at+rkd", 4, 0.05),
    ]  # fmt: skip
    assert not any(stage.anchored for stage in restarts)
    assert {arm.epochs for arm in arms.values()} == {12}


@pytest.mark.parametrize(
    ("curve", "schedules"),
    [
        ('"step"\nstep_epochs = 3', ["step", "step"]),
        ('"linear"\nhold_epochs = 6.0', ["linear", "linear"]),
        ('"step"\nstep_epochs = 5', ["step", "cosine"]),  # four epochs see no step of five
        ('"constant"', ["cosine", "cosine"]),
    ],
)
def test_restarts_of_a_recipe_of_one_schedule_are_of_its_kind_where_that_falls(
    tmp_path: Path, curve: str, schedules: list[str]
) -> None:
    stages = SHARED.replace('"constant"', curve)
    restarts = all_arms(file_of(tmp_path, "compare_restarts = true", stages))["smskd-restarts"]
    assert [stage.schedule for stage in restarts.stages] == schedules
    assert {(stage.lr, stage.hold_epochs) for stage in restarts.stages} == {(0.1, 0.0)}


def test_an_arm_of_one_schedule_holds_the_peak_as_long_as_the_stages_do_where_that_falls(
    tmp_path: Path,
) -> None:
    stages = SHARED.replace('"constant"', '"cosine"\nhold_epochs = 7.0')
    arms = all_arms(file_of(tmp_path, "", stages))
    assert (arms["kd"].stages[0].schedule, arms["kd"].stages[0].hold_epochs) == ("cosine", 7.0)
    longer = all_arms(file_of(tmp_path, "", stages.replace("7.0", "10.0")))
    assert longer["kd"].stages[0].hold_epochs == 0.0


def test_an_arm_that_another_is_already_is_left_out(tmp_path: Path) -> None:
    stages = SHARED.replace("constant", "cosine")
    arms = all_arms(file_of(tmp_path, "compare_restarts = true", stages))
    assert "smskd-one-schedule" not in arms
    assert arms["smskd-tcp"].stages[1].shares_schedule


def test_in_another_order_each_stage_has_the_schedule_of_its_place(tmp_path: Path) -> None:
    arms = all_arms(file_of(tmp_path, 'orders = [["kd", "at"]]', SHARED))
    kd, at = arms["order-kd-at"].stages
    assert (kd.name, kd.schedule, kd.lr, kd.epochs) == ("kd", "constant", 0.1, 4)
    assert (at.name, at.schedule, at.lr, at.epochs) == ("at", "shared", None, 6)


def test_each_weighting_is_tried_with_each_weight_of_the_reference(tmp_path: Path) -> None:
    arms = all_arms(file_of(tmp_path, "reference_weights = [0.3, 1.0]"))
    for weighting in WEIGHTINGS.names():
        for weight in (0.3, 1.0):
            name = f"smskd-{weighting}-{weight:g}"
            if weighting == "none":
                assert name not in arms
                continue
            stages = arms[name].stages
            assert {(s.weighting, s.reference_weight) for s in stages} == {(weighting, weight)}


def test_the_reference_in_own_terms_is_an_arm(tmp_path: Path) -> None:
    stages = all_arms(file_of(tmp_path, "own_terms = true"))["smskd-own-terms"].stages
    assert {stage.reference_methods for stage in stages} == {"previous"}
    assert [stage.weighting for stage in stages] == ["tcp", "constant", "tcp"]


def test_a_method_that_cannot_hold_a_reference_is_told_of_with_its_arm(tmp_path: Path) -> None:
    stages = '[[stages]]\nmethods = "crd"\n[[stages]]\nmethods = "kd"\n'
    file = file_of(tmp_path, "own_terms = true", stages)
    with pytest.raises(RecipeError, match=r"arm 'smskd-own-terms': stage 2 .* by 'crd'"):
        all_arms(file)


def test_stages_that_keep_earlier_methods_have_arms_of_another_name(tmp_path: Path) -> None:
    arms = all_arms(file_of(tmp_path, "carry = [0.2, 0.5]"))
    assert [stage.carry for stage in arms["smskd-carry-0.5"].stages] == [0.0, 0.5, 0.5]
    assert not any(stage.carry for stage in arms["smskd-tcp"].stages)
    assert "keep all methods before them, times 0.2" in arms["smskd-carry-0.2"].words


def test_a_recipe_that_keeps_earlier_methods_has_no_arm_that_is_called_plain_smskd(
    tmp_path: Path,
) -> None:
    stages = RECIPE.replace('weighting = "constant"', "carry = 0.3")
    study = 'orders = [["at", "rkd", "kd"]]\nstage_counts = [2]'
    arms = all_arms(file_of(tmp_path, study, stages))
    several = {name: arm for name, arm in arms.items() if len(arm.stages) > 1}
    assert all(name.startswith(("smskd-carry-", "order-")) for name in several)
    # What is kept belongs to the place: the first has nothing before it.
    assert [stage.carry for stage in arms["order-at-rkd-kd"].stages] == [0.0, 0.3, 0.0]
    assert arms["order-at-rkd-kd"].stages[1].name == "rkd+carried"


class TestWithAFullScheduleForEachStage:
    STUDY = 'budget = "per-stage"\nstage_counts = [2]'

    def test_arms_of_one_schedule_have_the_epochs_of_all_stages_and_of_one(
        self, tmp_path: Path
    ) -> None:
        arms = all_arms(file_of(tmp_path, self.STUDY))
        for name in ("alone", "kd", "at", "rkd", "simultaneous", "sakd"):
            assert (arms[name].epochs, arms[f"{name}-one-stage"].epochs) == (12, 5)
            (whole,), (one,) = arms[name].stages, arms[f"{name}-one-stage"].stages
            assert replace(whole, epochs=5) == one
        assert "one stage's epochs" in arms["kd-one-stage"].words

    def test_stages_keep_their_own_epochs(self, tmp_path: Path) -> None:
        arms = all_arms(file_of(tmp_path, self.STUDY))
        assert [stage.epochs for stage in arms["smskd-tcp"].stages] == [5, 3, 4]
        assert [stage.epochs for stage in arms["smskd-2-stages"].stages] == [5, 3]

    def test_each_is_tried_with_each_schedule(self, tmp_path: Path) -> None:
        study = f'{self.STUDY}\nbaseline_schedules = ["cosine", "linear"]'
        arms = all_arms(file_of(tmp_path, study))
        assert arms["kd-one-stage-linear"].trial_of == "kd-one-stage"
        assert arms["kd-linear"].trial_of == "kd"

    def test_a_schedule_that_stages_share_is_none_of_each(self, tmp_path: Path) -> None:
        with pytest.raises(RecipeError, match=r"stages\[1\]\.schedule: with study\.budget"):
            all_arms(file_of(tmp_path, self.STUDY.splitlines()[0], SHARED))


ANCHORED = """\
[[stages]]
methods = "kd"
epochs = 5

[[stages]]
methods = "at"
epochs = 3

[[stages]]
methods = "rkd"
epochs = 4
"""


def test_equal_compute_counts_a_reference_as_a_third_of_a_step() -> None:
    """Asked in 3 and 4 epochs, or in the first two of each where there are two views."""
    stages = [Stage("kd", 5), Stage("at", 3), Stage("rkd", 4)]
    assert equal_compute_epochs(stages, None) == 12 + 3  # 7/3
    assert equal_compute_epochs(stages, 2) == 12 + 2  # 4/3
    assert equal_compute_epochs(stages, 100) == 12 + 3
    stages[1:] = [replace(stage, weighting="none") for stage in stages[1:]]
    assert equal_compute_epochs(stages, None) == 12


def test_arms_of_one_schedule_may_have_the_compute_of_the_stages(tmp_path: Path) -> None:
    arms = all_arms(file_of(tmp_path, "equal_compute = true", ANCHORED))
    further = {name for name in arms if name.endswith("-equal-compute")}
    plain = {"alone", "kd", "at", "rkd", "simultaneous", "sakd"}
    assert further == {f"{name}-equal-compute" for name in plain}
    assert {arms[name].epochs for name in further} == {15}
    assert {arms[name].epochs for name in set(arms) - further} == {12}
    (stage,), (longer,) = arms["kd"].stages, arms["kd-equal-compute"].stages
    assert replace(stage, epochs=15) == longer


def test_with_full_schedules_too_each_arm_has_its_three_budgets(tmp_path: Path) -> None:
    settings = 'equal_compute = true\nbudget = "per-stage"'
    arms = all_arms(file_of(tmp_path, settings, ANCHORED))
    epochs = {name: arms[name].epochs for name in ("kd", "kd-one-stage", "kd-equal-compute")}
    assert epochs == {"kd": 12, "kd-one-stage": 5, "kd-equal-compute": 15}
    assert "kd-equal-compute-one-stage" not in arms


def test_stages_without_a_reference_have_no_compute_to_make_up_for(tmp_path: Path) -> None:
    stages = ANCHORED.replace("epochs", 'weighting = "none"\nepochs')
    arms = all_arms(file_of(tmp_path, "equal_compute = true", stages))
    assert not [name for name in arms if "equal" in name]


def test_a_planned_arm_that_there_is_not_is_told_of(tmp_path: Path) -> None:
    file = file_of(tmp_path, 'planned = ["best-single", "kdd"]', ANCHORED)
    with pytest.raises(UnknownNameError, match=r"study\.planned\[1\]: unknown arm 'kdd'"):
        chosen_arms(file)


def test_arms_of_one_schedule_have_the_weight_of_the_labels_that_is_asked(tmp_path: Path) -> None:
    arms = all_arms(file_of(tmp_path, "ce_weights = { simultaneous = 0.1, kd = 2.0 }"))
    weights = {name: arms[name].stages[0].ce_weight for name in ("simultaneous", "kd", "at")}
    assert weights == {"simultaneous": 0.1, "kd": 2.0, "at": 0.7}
    with pytest.raises(UnknownNameError, match=r"ce_weights.*did you mean 'kd'"):
        all_arms(file_of(tmp_path, "ce_weights = { kdd = 2.0 }"))
    with pytest.raises(UnknownNameError, match="unknown arm of one schedule 'smskd-tcp'"):
        all_arms(file_of(tmp_path, "ce_weights = { smskd-tcp = 2.0 }"))
