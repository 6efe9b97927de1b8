from __future__ import annotations

import json
from typing import Any

import pytest

from foundation.errors import UnknownNameError
from smskd.curve import with_schedules
from smskd.stage import MethodSpec, Stage, check_sequence


def test_a_methods_name_alone_is_a_set_of_one() -> None:
    assert Stage("kd").method_specs == (MethodSpec("kd"),)
    assert Stage("kd") == Stage((MethodSpec("kd"),))


def test_a_stage_is_called_by_its_methods() -> None:
    assert Stage((MethodSpec("kd"), MethodSpec("at"))).name == "kd+at"
    assert Stage().name == "labels"


@pytest.mark.parametrize(
    ("settings", "anchored"),
    [
        ({}, True),
        ({"weighting": "none"}, False),
        ({"reference_weight": 0.0}, False),
        ({"reference_weight": 0.0, "reference_feature_weight": 0.1}, True),
        ({"weighting": "none", "reference_feature_weight": 0.1}, False),
    ],
)
def test_a_stage_is_anchored_unless_it_says_otherwise(
    settings: dict[str, Any], anchored: bool
) -> None:
    assert Stage("kd", **settings).anchored is anchored


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("lr", 0.0),
        ("lr", -0.1),
        ("reference_temperature", 0.0),
        ("max_grad_norm", 0.0),
        ("ce_weight", -1.0),
        ("reference_weight", -1.0),
        ("reference_feature_weight", -0.1),
        ("momentum", -0.1),
        ("weight_decay", -0.1),
        ("norm_weight_decay", -0.1),
        ("warmup_epochs", -1.0),
    ],
)
def test_an_impossible_value_is_quoted(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"but got {name}={value}"):
        Stage("kd", **{name: value})


@pytest.mark.parametrize("value", [0, -1])
def test_an_optimizer_step_has_at_least_one_batch(value: int) -> None:
    with pytest.raises(
        ValueError, match=rf"accumulate counts batches from 1, .*accumulate={value}"
    ):
        Stage("kd", accumulate=value)
    assert Stage("kd", accumulate=1).accumulate == Stage("kd").accumulate == 1


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_labels_are_smoothed_by_a_share(value: float) -> None:
    with pytest.raises(ValueError, match=rf"from 0 to below 1, .*label_smoothing={value}"):
        Stage("kd", label_smoothing=value)


def test_a_step_has_an_epoch() -> None:
    with pytest.raises(ValueError, match="step_epochs=0"):
        Stage("kd", step_epochs=0)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1.1])
def test_a_running_mean_keeps_a_share_between_nothing_and_all(value: float) -> None:
    with pytest.raises(ValueError, match=rf"between 0 and 1, .*ema_decay={value}"):
        Stage("kd", ema_decay=value)
    assert Stage("kd", ema_decay=1e-9).ema_decay == 1e-9
    assert Stage("kd", ema_decay=1 - 1e-9).ema_decay == 1 - 1e-9
    assert Stage("kd").ema_decay is None


@pytest.mark.parametrize(
    "name",
    ["ce_weight", "reference_weight", "reference_feature_weight", "momentum", "weight_decay"],
)
def test_zero_switches_a_part_off(name: str) -> None:
    assert getattr(Stage("kd", **{name: 0.0}), name) == 0.0


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("optimizer", "adamW", "adamw"),
        ("schedule", "cosin", "cosine"),
        ("keep", "bset", "best"),
        ("label_loss", "bec", "bce"),
        ("optimizer", "lamp", "lamb"),
    ],
)
def test_a_misspelt_choice_brings_up_the_nearest(name: str, wrong: str, right: str) -> None:
    with pytest.raises(UnknownNameError, match=f"{name} '{wrong}', did you mean '{right}'"):
        Stage("kd", **{name: wrong})


def test_a_method_that_stands_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"each method once, but got methods=\['kd', 'kd'\]"):
        Stage((MethodSpec("kd"), MethodSpec("kd", weight=2.0)))


def test_keys_that_came_later_are_no_part_of_what_a_stage_is_known_by_where_they_say_nothing() -> (
    None
):
    later = {"class_weights", "logit_adjustment", "label_correction", "teacher"}
    assert later.isdisjoint(Stage("kd").as_dict())
    said = Stage(
        "kd", class_weights="sqrt", logit_adjustment=1.0, label_correction=0.1, teacher="big"
    )
    assert later <= said.as_dict().keys()


def test_a_stage_as_plain_values_is_json_and_tells_stages_apart() -> None:
    def written(stage: Stage) -> str:
        return json.dumps(stage.as_dict())

    assert written(Stage("kd")) == written(Stage((MethodSpec("kd"),)))
    assert written(Stage("kd")) != written(Stage("at"))
    assert written(Stage("kd")) != written(Stage("kd", lr=0.1))
    assert written(Stage("kd")) != written(Stage("kd", accumulate=2))
    assert written(Stage("kd")) != written(Stage("kd", ema_decay=0.9))
    assert written(Stage("kd")) != written(Stage("kd", reference_feature_weight=0.1))
    assert written(Stage("kd")) != written(Stage((MethodSpec("kd", settings={"a": 1}),)))


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"warm_lr": 0.1}, "goes on at the rate where the stage before stood"),
        ({"quantize": "int8"}, "trains other weights than the stage before"),
    ],
)
def test_a_stage_of_a_shared_schedule_has_no_restart_and_no_other_weights(
    stage: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Stage("kd", schedule="shared", **stage)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"schedule": "shared"}, {}, "the first has none before it; name its schedule: constant"),
        ({"lr": 0.1}, {"lr": 0.05}, "stage 1, which has lr = 0.1, but got lr = 0.05; leave it out"),
        ({}, {"warmup_epochs": 1.0}, "warmup_epochs = 0.0, but got warmup_epochs = 1.0"),
        ({"schedule": "step"}, {"step_epochs": 5}, "step_epochs = 30, but got step_epochs = 5"),
        ({"keep": "best"}, {}, 'stage 1 has keep = "best"'),
    ],
)
def test_a_stage_that_contradicts_the_schedule_that_it_shares_is_refused_in_a_line(
    first: dict[str, Any], second: dict[str, Any], words: str
) -> None:
    stages = [Stage("at", **first), Stage("kd", schedule="shared", **second)]
    with pytest.raises(ValueError, match=words) as refused:
        check_sequence(stages)
    assert "\n" not in str(refused.value)


def test_a_stage_that_repeats_the_schedule_that_it_shares_is_taken() -> None:
    first = Stage("at", lr=0.2, warmup_epochs=1.0, schedule="step", step_epochs=3)
    second = Stage("kd", lr=0.2, warmup_epochs=1.0, schedule="shared", step_epochs=3)
    check_sequence([first, second, Stage("rkd", schedule="shared")])


def test_what_a_stage_says_nothing_of_has_its_default_and_is_the_curves_where_it_is_shared() -> (
    None
):
    keys = ("lr", "warmup_epochs", "hold_epochs", "step_epochs")
    first, second = with_schedules([Stage("at"), Stage("kd")])
    assert (first.schedule, second.schedule) == ("cosine", "shared")
    assert [getattr(first, key) for key in keys] == [0.05, 0.0, 0.0, 30]
    assert [getattr(second, key) for key in keys] == [None] * 4


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"keep": "best"}, {}), ({}, {"lr": 0.05}), ({}, {"warm_lr": 0.5}),
        ({}, {"step_epochs": 3}), ({}, {"hold_epochs": 0.0}), ({}, {"quantize": "int8"}),
    ],
)  # fmt: skip
def test_a_stage_that_cannot_go_on_or_has_a_curve_of_its_own_begins_one(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    stages = with_schedules([Stage("at", **first), Stage("kd", **second)])
    assert [stage.schedule for stage in stages] == ["cosine", "cosine"]
    apart = with_schedules([Stage("at"), Stage("kd"), Stage("rkd")], apart={1})
    assert [stage.schedule for stage in apart] == ["cosine", "cosine", "shared"]
