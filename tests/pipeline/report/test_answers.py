"""Figures of answers, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from foundation.answers import Answers
from pipeline.report.answers import (
    calibration_error,
    classes_worth,
    confusion,
    flips_between,
    reliability,
)

LABELS = np.array([0, 0, 1, 1, 1, 2])
BEFORE = Answers(LABELS, np.array([0, 0, 1, 1, 0, 1]), np.array([0.9, 0.8, 0.7, 0.95, 0.6, 0.5]))
AFTER = Answers(LABELS, np.array([0, 1, 1, 0, 1, 0]), np.array([0.9, 0.5, 0.7, 0.55, 0.6, 0.5]))


def test_each_class_is_counted_before_and_after() -> None:
    worth = classes_worth(BEFORE, AFTER, ["a", "b", "c", "never seen"])
    assert [(one.name, one.n, one.before, one.after) for one in worth] == [
        ("a", 2, 2, 1), ("b", 3, 2, 2), ("c", 1, 0, 0),
    ]  # fmt: skip
    assert worth[0].change == -50.0


def test_confusion_has_a_row_for_what_is_shown() -> None:
    assert confusion(BEFORE, 3).tolist() == [[2, 0, 0], [1, 2, 0], [0, 1, 0]]


def test_flips_are_lost_won_or_wrong_twice_the_surest_lost_first() -> None:
    flips = flips_between(BEFORE, AFTER)
    assert [(flip.image, flip.kind) for flip in flips] == [
        (3, "lost"), (1, "lost"), (4, "won"), (5, "wrong"),
    ]  # fmt: skip
    assert (flips[0].label, flips[0].before, flips[0].after) == (1, 1, 0)
    assert (flips[0].confidence_before, flips[0].confidence_after) == (0.95, 0.55)


def test_the_calibration_error_is_the_gap_of_each_bin_weighted_by_its_images() -> None:
    # Two bins: (0.6, 0.667] holds 0.65 twice, one right; (0.933, 1] holds 1.0 twice, both right.
    answers = Answers(
        np.zeros(4, np.int64), np.array([0, 1, 0, 0]), np.array([0.65, 0.65, 1.0, 1.0])
    )
    bins = reliability(answers)
    assert [(one.n, one.confidence, one.accuracy) for one in bins] == [
        (2, 0.65, 0.5),
        (2, 1.0, 1.0),
    ]
    assert bins[0].low == pytest.approx(0.6)
    assert calibration_error(answers) == pytest.approx((2 * 0.15 + 2 * 0.0) / 4)


def test_a_confidence_of_zero_and_of_one_have_a_bin() -> None:
    answers = Answers(np.zeros(2, np.int64), np.array([0, 1]), np.array([1.0, 0.0]))
    assert [one.n for one in reliability(answers)] == [1, 1]
