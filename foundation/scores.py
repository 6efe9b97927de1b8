"""Figures with their intervals, as they are kept; what makes them is in `classification`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassScores:
    """How well one class is told from the rest; shares from 0 to 1.

    Attributes:
        n: images that show it.
        named: images that were called it.
        right: of those that show it, the ones that were called it.
        recall: right of those that show it; None where none does.
        precision: right of those that were called it; None where none was.
        f1: the harmonic mean of both, 0 where either has no hit; None where the class is neither
            shown nor named.
    """

    n: int
    named: int
    right: int
    recall: Score | None
    precision: Score | None
    f1: Score | None


@dataclass(frozen=True)
class WorstClass:
    """The class of which a figure is worst.

    Attributes:
        number: of the class.
        n: images that show it.
        score: the figure, 0..1. The interval is of the worst of all classes, whichever that is.
    """

    number: int
    n: int
    score: Score
