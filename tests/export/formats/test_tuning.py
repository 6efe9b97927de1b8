"""Tests of which of NNCF's settings a network is quantised with, by what each form keeps."""

from __future__ import annotations

import numpy as np
import pytest

from export.formats._answers_kept import AnswersKept, Judge
from export.formats._tuning import is_open, tuned
from export.quantization import QuantizationScheme

SYMMETRIC, ASYMMETRIC = ("performance", False), ("mixed", False)
CORRECTED = ("performance", True)


class Decibels:
    """A judge that knows what each form keeps; a model is its preset and its correction."""

    images = 32

    def __init__(self, decibels: dict[tuple[str, bool], float], same: float = 1.0) -> None:
        self.decibels, self.same, self.asked = decibels, same, []

    def judge(self, model: tuple[str, bool]) -> AnswersKept:
        self.asked.append(model)
        first = len(self.asked) == 1
        return AnswersKept(self.decibels[model], 1.0 if first else self.same)


def form_of(scheme: QuantizationScheme) -> tuple[str, bool | None]:
    return scheme.preset, scheme.bias_correction


def settled(judge: Decibels, **scheme: object) -> tuple[str, bool]:
    tuning = tuned(QuantizationScheme(**scheme), form_of, judge)
    assert tuning.model == form_of(tuning.scheme)
    return tuning.model


def test_where_nothing_is_lost_the_fastest_form_is_taken_and_no_other_tried() -> None:
    judge = Decibels({SYMMETRIC: 35.0})
    assert settled(judge) == SYMMETRIC
    assert judge.asked == [SYMMETRIC]


def test_what_keeps_more_takes_its_place_and_what_keeps_as_much_does_not() -> None:
    assert settled(Decibels({SYMMETRIC: 19.4, ASYMMETRIC: 19.3, CORRECTED: 22.6})) == CORRECTED
    assert settled(Decibels({SYMMETRIC: 19.4, ASYMMETRIC: 19.8, CORRECTED: 19.8})) == SYMMETRIC
    both = {SYMMETRIC: 10.0, ASYMMETRIC: 12.0, ("mixed", True): 14.0}
    assert settled(Decibels(both)) == ("mixed", True)
    assert settled(Decibels({SYMMETRIC: 10.0, ASYMMETRIC: 31.0})) == ASYMMETRIC


def test_more_decibels_with_other_classes_are_not_better() -> None:
    judge = Decibels({SYMMETRIC: 19.0, ASYMMETRIC: 25.0, CORRECTED: 25.0}, same=0.9)
    assert settled(judge) == SYMMETRIC


def test_what_the_scheme_says_is_not_measured() -> None:
    judge = Decibels({ASYMMETRIC: 10.0, ("mixed", True): 12.0})
    assert settled(judge, preset="mixed") == ("mixed", True)
    assert settled(Decibels({SYMMETRIC: 1.0, CORRECTED: 9.0}), activation_type="s8") == CORRECTED
    assert not is_open(QuantizationScheme(preset="mixed", bias_correction=False))
    assert is_open(QuantizationScheme(preset="mixed"))
    assert is_open(QuantizationScheme(bias_correction=True))


def test_the_decision_is_told_with_its_figures() -> None:
    judge = Decibels({SYMMETRIC: 19.4, ASYMMETRIC: 19.3, CORRECTED: 22.6})
    tuning = tuned(QuantizationScheme(), form_of, judge)
    assert tuning.remark == (
        "symmetric activations, biases corrected: of FP32's answers to 32 calibration images, "
        "alone and together, are left: symmetric activations 19.4 dB, asymmetric activations "
        "19.3 dB, symmetric activations, biases corrected 22.6 dB"
    )
    facts = tuning.as_facts()
    assert (facts["preset"], facts["bias_correction"]) == CORRECTED
    forms = facts["settings_measured"]["forms"]
    assert forms["asymmetric activations"]["signal_to_noise_db"] == 19.3


def test_a_judge_asks_alone_and_together_and_goes_by_the_worse() -> None:
    images = np.random.default_rng(0).normal(size=(40, 1, 2, 2)).astype(np.float32)

    def original(batch: np.ndarray) -> np.ndarray:
        return batch.reshape(len(batch), 4)

    def wrong_together(batch: np.ndarray) -> np.ndarray:
        return original(batch) + (0.1 * original(batch[::-1]) if len(batch) > 1 else 0)

    judge = Judge(original, lambda model: model, images, batch=None)
    assert judge.images == 32
    assert judge.judge(original).signal_to_noise_db == pytest.approx(200.0)
    assert judge.judge(wrong_together).signal_to_noise_db < 25.0


def test_a_judge_of_a_fixed_batch_asks_only_full_ones() -> None:
    images = np.zeros((5, 1, 2, 2), np.float32)
    judge = Judge(lambda batch: batch[:, 0, 0], lambda model: model, images, batch=2)
    assert judge.images == 4
    assert Judge(lambda batch: batch, lambda model: model, images[:1], batch=2).images == 0
