"""What is not worth its training, and what is: by costs and accuracies that were made by hand."""

from __future__ import annotations

import pytest

from deploy_targets.targets import load_target
from export.requests import BundleRequest
from pipeline.exporting.export import requests_for
from pipeline.recipe.sections.export import ExportRecipe
from pipeline.search.hopeless import why_behind, why_hopeless
from pipeline.search.limits import parse_limits
from pipeline.search.points import FirstStage, StudentCosts, TrialPoint

LOCAL = load_target("local")


def request(precision: str = "fp32") -> BundleRequest:
    (made,) = requests_for(LOCAL, ExportRecipe(formats=["onnx"], precisions=[precision]))
    return made


@pytest.fixture
def timed(point) -> list[TrialPoint]:
    """Three that took twice their roofline."""
    return [
        point(number, "ffff", (2 * ms, 1.9 * ms, 2.1 * ms), costs=StudentCosts(10, 10, ms, 10))
        for number, ms in enumerate((1.0, 2.0, 4.0))
    ]


def test_weights_that_are_larger_than_the_limit_by_themselves_are_not_trained() -> None:
    limits, costs = parse_limits("size<=2MB"), StudentCosts(1_000_000, 10)
    reason = why_hopeless(costs, request(), LOCAL, limits, [])
    assert reason == "1,000,000 weights of fp32 take 4.00 MB at least, beyond size<=2MB"
    assert why_hopeless(costs, request("int8"), LOCAL, limits, []) is None


def test_a_latency_that_is_estimated_beyond_the_limit_is_told_as_an_estimate(timed) -> None:
    limits = parse_limits("latency_p95<=20ms")
    reason = why_hopeless(StudentCosts(10, 10, 100.0, 10), request(), LOCAL, limits, timed)
    assert reason is not None
    assert reason.startswith("its median latency is estimated, not measured: 200 ms (")
    assert reason.endswith("beyond latency_p95<=20ms")


def test_what_may_keep_the_limit_is_trained(timed) -> None:
    """The interval of so few is wide: 24 ms may be 15 ms."""
    limits = parse_limits("latency_p95<=20ms")
    costs = StudentCosts(10, 10, 12.0, 10)
    assert why_hopeless(costs, request(), LOCAL, limits, timed) is None
    assert why_hopeless(costs, request(), LOCAL, [], timed) is None


def test_another_precision_tells_nothing(timed) -> None:
    limits, costs = parse_limits("latency_p50<=20ms"), StudentCosts(10, 10, 1000.0, 10)
    assert why_hopeless(costs, request(), LOCAL, limits, timed)
    assert why_hopeless(costs, request("int8"), LOCAL, limits, timed) is None


def after_first(point, top1: float, epochs: int = 2, macs: int = 10, **more) -> TrialPoint:
    return point(
        7, "ffff", (1, 1, 1), costs=StudentCosts(10, macs),
        first_stage=FirstStage(epochs, top1, 400), **more,
    )  # fmt: skip


def test_who_is_surely_behind_after_the_first_stage_is_stopped_with_the_figures(point) -> None:
    """300 of 400 and 200 of 400: Wilson's intervals are 70.5 to 79.0 % and 45.1 to 54.9 %.

    Newcombe's of the difference of 25: 25 − √(4.9² + 4.5²) to 25 + √(4.9² + 4.0²).
    """
    reached, costs = FirstStage(2, 0.5, 400), StudentCosts(10, 10)
    reason = why_behind(reached, costs, request(), [after_first(point, 0.75)])
    assert reason is not None
    assert "50.00 % of the validation images, where trial 7, which costs no more, had 75.00 %" in (
        reason
    )
    assert "(18.39 to 31.30 points above)" in reason


@pytest.mark.parametrize(
    ("top1", "more"),
    [
        (0.52, {}),  # not surely
        (0.75, {"epochs": 3}),  # it trained longer
        (0.75, {"macs": 11}),  # it costs more
        (0.75, {"precision": "int8"}),  # it may be slower all the same
    ],
)
def test_who_may_be_worth_more_goes_on(point, top1: float, more: dict) -> None:
    reached, costs = FirstStage(2, 0.5, 400), StudentCosts(10, 10)
    assert why_behind(reached, costs, request(), [after_first(point, top1, **more)]) is None


def test_without_a_first_stage_to_compare_with_nobody_is_behind(point) -> None:
    alone = point(7, "ffff", (1, 1, 1))
    assert why_behind(FirstStage(2, 0.1, 400), StudentCosts(10, 10), request(), [alone]) is None
