"""The course of the learning rate."""

from __future__ import annotations

import pytest

from smskd.curve import SCHEDULES, Curve, curves_of, schedule_names
from smskd.stage import Stage


def alone(stage: Stage) -> Curve:
    """The curve of a stage by itself."""
    (curve,) = curves_of([stage])
    return curve


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0.0, 0.8), (2.5, 0.4 * (1 + 2**-0.5)), (5.0, 0.4), (10.0, 0.0)]
)
def test_cosine_falls_from_the_rate_to_zero(epoch: float, expected: float) -> None:
    stage = Stage(epochs=10, lr=0.8)
    assert alone(stage).rate(epoch) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0.0, 0.0), (0.5, 0.2), (1.0, 0.4), (2.0, 0.8), (6.0, 0.4), (10.0, 0.0)]
)
def test_warm_up_rises_linearly_and_the_cosine_takes_the_rest(
    epoch: float, expected: float
) -> None:
    stage = Stage(epochs=10, lr=0.8, warmup_epochs=2.0)
    assert alone(stage).rate(epoch) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("epoch", "expected"), [(0.0, 0.0), (1.0, 0.4), (2.0, 0.8), (9.9, 0.8)])
def test_constant_stays_after_the_warm_up(epoch: float, expected: float) -> None:
    stage = Stage(epochs=10, lr=0.8, schedule="constant", warmup_epochs=2.0)
    assert alone(stage).rate(epoch) == pytest.approx(expected)


def test_a_stage_may_be_warm_up_alone() -> None:
    stage = Stage(epochs=2, lr=0.8, warmup_epochs=2.0)
    assert [alone(stage).rate(epoch) for epoch in (0.0, 1.0, 2.0)] == [0.0, 0.4, 0.8]


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0.0, 0.0), (1.0, 0.4), (2.9, 0.8), (3.0, 0.08), (6.5, 0.008)]
)
def test_steps_take_a_tenth_each(epoch: float, expected: float) -> None:
    stage = Stage(epochs=9, lr=0.8, schedule="step", step_epochs=3, warmup_epochs=2.0)
    assert alone(stage).rate(epoch) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0.0, 0.0), (2.0, 0.8), (4.0, 0.6), (6.0, 0.4), (10.0, 0.0)]
)
def test_a_straight_line_falls_to_zero_behind_the_warm_up(epoch: float, expected: float) -> None:
    stage = Stage(epochs=10, lr=0.8, schedule="linear", warmup_epochs=2.0)
    assert alone(stage).rate(epoch) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0.5, 0.4), (1.0, 0.8), (3.9, 0.8), (4.0, 0.8), (6.0, 0.4), (8.0, 0.0)],
)
def test_the_peak_is_held_before_the_schedule_begins(epoch: float, expected: float) -> None:
    stage = Stage(epochs=8, lr=0.8, warmup_epochs=1.0, hold_epochs=3.0)
    assert alone(stage).rate(epoch) == pytest.approx(expected, abs=1e-12)


def test_steps_behind_a_hold_are_the_published_milestones() -> None:
    """240 epochs with a tenth at 150, 180 and 210."""
    curve = alone(Stage(epochs=240, lr=1.0, schedule="step", hold_epochs=120.0))
    milestones = [n for n in range(1, 240) if curve.rate(n) < 0.5 * curve.rate(n - 1)]
    assert milestones == [150, 180, 210]


@pytest.mark.parametrize("schedule", SCHEDULES.names())
def test_stages_that_share_a_schedule_are_one_curve_in_pieces(schedule: str) -> None:
    settings = {"lr": 0.8, "warmup_epochs": 1.5, "hold_epochs": 2.0, "step_epochs": 4}
    settings["schedule"] = schedule
    whole = alone(Stage(epochs=9, **settings))
    first = Stage(epochs=2, **settings)
    others = [Stage("kd", epochs=count, schedule="shared") for count in (3, 4)]
    pieces = curves_of([first, *others])
    assert [curve.begin for curve in pieces] == [0, 2, 5]
    for curve, epochs in zip(pieces, (2, 3, 4), strict=True):
        for quarter in range(4 * epochs):
            assert curve.rate(quarter / 4) == whole.rate(curve.begin + quarter / 4)


def test_a_second_curve_begins_where_a_stage_names_one() -> None:
    stages = [
        Stage(epochs=2, lr=0.4),
        Stage(epochs=2, schedule="shared"),
        Stage(epochs=3, lr=0.1, schedule="linear"),
        Stage(epochs=1, schedule="shared"),
    ]
    curves = curves_of(stages)
    assert [(c.schedule, c.lr, c.epochs, c.begin) for c in curves] == [
        ("cosine", 0.4, 4, 0), ("cosine", 0.4, 4, 2), ("linear", 0.1, 4, 0), ("linear", 0.1, 4, 3),
    ]  # fmt: skip
    assert curves[1].rate(0.0) == pytest.approx(0.2)  # half a wave, half way
    assert curves[3].rate(0.0) == pytest.approx(0.025)


def test_a_warm_restart_begins_at_a_share_of_the_peak_and_the_first_stage_at_the_whole() -> None:
    stages = [Stage(epochs=4, lr=0.8, warm_lr=0.25)] * 2
    assert [curve.rate(0.0) for curve in curves_of(stages)] == [0.8, 0.2]
    assert [curve.rate(2.0) for curve in curves_of(stages)] == pytest.approx([0.4, 0.1])


@pytest.mark.parametrize(
    ("settings", "anneals"),
    [
        ({"schedule": "cosine"}, True),
        ({"schedule": "linear"}, True),
        ({"schedule": "constant"}, False),
        ({"schedule": "step", "step_epochs": 9}, True),
        ({"schedule": "step", "step_epochs": 10}, False),  # it would fall when all is over
        ({"schedule": "cosine", "warmup_epochs": 10.0}, False),
    ],
)
def test_a_schedule_anneals_when_its_end_is_trained_at_a_tenth_or_less(
    settings: dict[str, object], anneals: bool
) -> None:
    assert alone(Stage(epochs=10, **settings)).anneals is anneals


def test_the_names_of_schedules_are_the_registered_ones_and_shared() -> None:
    assert schedule_names() == ["constant", "cosine", "linear", "step", "shared"]
