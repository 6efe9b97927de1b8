"""What a graph that is no classifier is held to, by itself and by a budget."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy_targets.device.questions import parity_over
from deploy_targets.measurement import Measurement
from foundation.errors import UsageError
from foundation.output_agreement import OutputAgreement
from pipeline.gating.evidence import Evidence
from pipeline.gating.graph_limits import own_limits
from pipeline.gating.judging import judge
from pipeline.recipe.sections.gate import GateRecipe, Limit

MAP = OutputAgreement("map", 8, 1.0, 0.1, 0.002, 22.0, 0.99)
MASK = OutputAgreement("mask", 8, 1.0, equal=0.97)
BOXES = OutputAgreement("a/boxes.v2", 8, 0.75, 0.1, 0.2, 30.0, 0.99)


def of_graph(measured, *outputs: OutputAgreement, **bundle: object) -> Measurement:
    return replace(measured(top1=None, **bundle), parity=parity_over(list(outputs)))


def answers(measurement: Measurement, **limits: Limit) -> dict[str, str]:
    verdict = judge(Evidence([measurement]), GateRecipe(limits=limits))
    return {check.metric: check.verdict for check in verdict.checks}


def test_every_output_is_held_to_what_its_precision_is_exported_with(measured) -> None:
    assert answers(of_graph(measured, MAP, MASK)) == {
        "outputs.map.signal_to_noise_db": "pass",
        "outputs.mask.equal_percent": "pass",
    }
    assert answers(of_graph(measured, MAP, MASK, precision="fp32")) == {
        "outputs.map.relative_error": "fail",
        "outputs.mask.equal_percent": "fail",
    }


def test_an_output_of_another_shape_fails_by_that(measured) -> None:
    assert answers(of_graph(measured, BOXES)) == {"outputs.a/boxes.v2.same_shape_percent": "fail"}


def test_a_scorers_word_counts_for_more_than_numbers(measured) -> None:
    scored = {"scores": {"iou": 0.7}, "score_drop": 1.5, "score_tolerance": 2.0}
    assert answers(of_graph(measured, BOXES, **scored)) == {"score_drop_points": "pass"}
    worse = scored | {"score_drop": 2.5}
    assert answers(of_graph(measured, BOXES, **worse)) == {"score_drop_points": "fail"}
    # FP32 gives the original's numbers, whatever they are worth.
    exact = of_graph(measured, MAP, precision="fp32", **scored)
    assert list(own_limits(exact)) == ["outputs.map.relative_error"]


def test_a_budget_goes_before_and_beside_them(measured) -> None:
    limits = {"outputs.mask.equal_percent": Limit(min=99), "size_mb": Limit(max=9)}
    found = answers(of_graph(measured, MAP, MASK), **limits)
    assert found == {
        "outputs.map.signal_to_noise_db": "pass",
        "outputs.mask.equal_percent": "fail",
        "size_mb": "pass",
    }


def test_a_figure_that_an_output_has_not_is_told(measured) -> None:
    rules = GateRecipe(limits={"outputs.map.equal_percent": Limit(min=1)})
    reasons = {
        check.metric: check.reason
        for check in judge(Evidence([of_graph(measured, MAP)]), rules).checks
    }
    assert "it is of floating numbers" in reasons["outputs.map.equal_percent"]


def test_a_classifier_still_needs_a_budget(measured) -> None:
    assert own_limits(measured()) == {}
    with pytest.raises(UsageError, match="the budget has no limits"):
        judge(Evidence([measured()]), GateRecipe())
