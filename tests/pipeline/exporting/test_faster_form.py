"""Tests of which form of INT8 ships where two keep the limit: the one timed to be faster."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deploy_targets.comparison import Ratio
from deploy_targets.targets import load_target
from export.quantization import QuantizationScheme
from export.searching.search import SearchResult, search
from export.searching.trials import ModelVariant, Trial, TrialResult
from pipeline.exporting.precision_search import FormatTrials
from pipeline.exporting.ship import _faster_form
from pipeline.recipe.sections.bench import BenchRecipe

LOCAL = load_target("local")


def trial(preset: str, drop: float = 0.0) -> TrialResult:
    facts = {"preset": preset} if preset else {}
    made = Trial(np.ones(4, np.bool_), bundle="b", facts=facts)
    return TrialResult(ModelVariant("int8"), made, drop=drop, low=0.0, high=0.0)


def outcome(*trials: TrialResult) -> SearchResult:
    return SearchResult(trials[0], 0.5, met=True, gap=0.0, advice="", trials=list(trials))


class Timed:
    """Trials of a format, of which the second takes so much of the first's time."""

    request = SimpleNamespace(format="openvino")

    def __init__(self, low: float, estimate: float, high: float) -> None:
        self.ratio = Ratio(estimate, low, high, 0.95, "no difference")
        self.times = 0

    def faster(self, first: Any, second: Any, host: str, options: Any) -> tuple[Any, Ratio]:
        self.times += 1
        return (second if self.ratio.high < 1 else first), self.ratio


def shipped(trials: Timed, *results: TrialResult, arch: str = LOCAL.arch) -> tuple[Any, list[str]]:
    notes: list[str] = []
    target = replace(LOCAL, arch=arch)
    best = _faster_form(trials, results[0], outcome(*results), target, BenchRecipe(), notes=notes)
    return best, notes


def test_the_form_that_is_shown_to_be_faster_ships_and_it_is_said() -> None:
    asymmetric, symmetric = trial("mixed"), trial("performance", drop=0.25)
    best, (note,) = shipped(Timed(0.84, 0.87, 0.90), asymmetric, symmetric)
    assert best is symmetric
    assert note == (
        "openvino: int8 with symmetric activations takes 0.87 (0.84 to 0.90) of the time of "
        "asymmetric ones, +0.25 points lost beside them; symmetric ones it is"
    )


def test_a_form_that_may_be_no_faster_does_not_take_the_others_place() -> None:
    first, other = trial("performance"), trial("mixed")
    best, (note,) = shipped(Timed(0.98, 1.0, 1.02), first, other)
    assert best is first
    assert note.endswith("symmetric ones it is")


@pytest.mark.parametrize(
    "results",
    [
        (trial("performance"), trial("mixed", drop=0.6)),
        (trial("performance"),),
        (trial(""), trial("")),
        (trial("mixed", drop=0.6), trial("performance", drop=0.6)),
    ],
)
def test_nothing_is_timed_but_two_forms_that_keep_the_limit(
    results: tuple[TrialResult, ...],
) -> None:
    timed = Timed(0.5, 0.5, 0.5)
    assert shipped(timed, *results) == (results[0], [])
    assert timed.times == 0


def test_another_machines_speed_says_nothing() -> None:
    timed = Timed(0.5, 0.5, 0.5)
    first, other = trial("performance"), trial("mixed")
    assert shipped(timed, first, other, arch="another") == (first, [])
    assert timed.times == 0


def test_the_other_form_of_a_model_that_keeps_the_limit_is_tried() -> None:
    tried: list[ModelVariant] = []

    def make(variant: ModelVariant) -> Trial:
        tried.append(variant)
        return Trial(np.ones(8, np.bool_), facts={"preset": "performance", "bias_correction": True})

    scheme = QuantizationScheme()
    alternative = FormatTrials._alternative.__get__(SimpleNamespace())
    search(make, lambda _: [], schemes=[scheme], limit=0.5, alternative=alternative)
    assert [variant.label for variant in tried] == [
        "fp32", "int8 minmax", "int8 minmax, asymmetric, biases corrected",
    ]  # fmt: skip
    assert alternative(trial("")) is None


def test_no_other_form_is_tried_where_none_keeps_the_limit() -> None:
    def make(variant: ModelVariant) -> Trial:
        right = np.ones(8, np.bool_) if variant.precision == "fp32" else np.zeros(8, np.bool_)
        return Trial(right)

    def never(result: TrialResult) -> ModelVariant | None:
        raise AssertionError(result)

    schemes = [QuantizationScheme()]
    search(make, lambda _: [], schemes=schemes, limit=0.5, alternative=never)
