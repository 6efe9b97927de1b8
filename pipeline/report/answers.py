"""What two models answered to the same images: by class, where they part, how sure they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foundation.answers import Answers
from foundation.statistics import wilson_interval

BINS = 15
"""Of equal width, from 0 to 1: as Guo et al. (2017) count the expected calibration error."""


@dataclass(frozen=True)
class ClassWorth:
    """A class before and after: how many images it has, and how many of them were named rightly."""

    name: str
    n: int
    before: int
    after: int

    @property
    def change(self) -> float:
        """Percentage points."""
        return 100 * (self.after - self.before) / self.n


@dataclass(frozen=True)
class Flip:
    """An image that two models answer otherwise.

    Attributes:
        image: its place among the test images.
        label, before, after: classes.
        confidence_before, confidence_after: 0..1.
    """

    image: int
    label: int
    before: int
    after: int
    confidence_before: float
    confidence_after: float

    @property
    def kind(self) -> str:
        """ "lost", "won", or "wrong" where neither is right."""
        if self.before == self.label:
            return "lost"
        return "won" if self.after == self.label else "wrong"


@dataclass(frozen=True)
class Bin:
    """The images of one bin of confidence: how many, how sure, and how often right (0..1)."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


def classes_worth(before: Answers, after: Answers, names: Sequence[str]) -> list[ClassWorth]:
    """A row a class that has images, in the order of the logits."""
    worth = []
    for place, name in enumerate(names):
        of_class = before.labels == place
        if of_class.any():
            right = (int((answers.right & of_class).sum()) for answers in (before, after))
            worth.append(ClassWorth(name, int(of_class.sum()), *right))
    return worth


def confusion(answers: Answers, classes: int) -> NDArray[np.int64]:
    """How many images of each class (row) were given each class (column)."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (answers.labels, answers.classes), 1)
    return matrix


def flips_between(before: Answers, after: Answers) -> list[Flip]:
    """Images that are answered otherwise: the lost first, then the won, the surest first."""
    flips = [
        Flip(
            int(image),
            int(before.labels[image]),
            int(before.classes[image]),
            int(after.classes[image]),
            float(before.confidence[image]),
            float(after.confidence[image]),
        )
        for image in np.flatnonzero(before.classes != after.classes)
    ]
    order = {"lost": 0, "won": 1, "wrong": 2}
    return sorted(flips, key=lambda flip: (order[flip.kind], -flip.confidence_before, flip.image))


def reliability(answers: Answers) -> list[Bin]:
    """The bins that have images, by rising confidence."""
    places = np.clip(np.ceil(answers.confidence * BINS).astype(int) - 1, 0, BINS - 1)
    bins = []
    for place in np.unique(places):
        there = places == place
        n, right = int(there.sum()), int(answers.right[there].sum())
        bins.append(
            Bin(
                place / BINS, (place + 1) / BINS, n, float(answers.confidence[there].mean()),
                right / n, *wilson_interval(right, n),
            )
        )  # fmt: skip
    return bins


def calibration_error(answers: Answers) -> float:
    """The expected calibration error (0..1): how far confidence is from accuracy, bin by bin,
    weighted by images."""
    bins = reliability(answers)
    total = sum(bin_.n for bin_ in bins)
    return sum(bin_.n * abs(bin_.accuracy - bin_.confidence) for bin_ in bins) / total
