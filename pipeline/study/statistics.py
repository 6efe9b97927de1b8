"""Means, deviations and paired tests over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import t as student_t
from scipy.stats import ttest_rel

Matrix = list[list[float | None]]

_NO_SPREAD = 1e-12
_FEWEST_FOR_SPREAD = 2


@dataclass(frozen=True)
class Spread:
    """Values over seeds.

    Attributes:
        mean: arithmetic mean.
        sd: sample standard deviation (n − 1); None with one seed.
    """

    mean: float
    sd: float | None


@dataclass(frozen=True)
class PairedComparison:
    """One arm against another, over the seeds that both have.

    Attributes:
        difference: mean of the differences.
        p: of the two-sided paired t-test; None with one seed, or when all differences are equal.
        n: seeds.
    """

    difference: float
    p: float | None
    n: int


@dataclass(frozen=True)
class PairedEffect:
    """How large a paired difference is, beside whether there is one.

    Attributes:
        low, high: 95 % confidence interval of the mean difference, by Student's t; None with one
            seed.
        effect: Cohen's d_z, the mean of the differences over their sample deviation; None with one
            seed, or when all differences are equal.
    """

    low: float | None
    high: float | None
    effect: float | None


def spread_of(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of at least one value."""
    return Spread(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)


def compare_seed_by_seed(
    values: Mapping[int, float], reference: Mapping[int, float]
) -> PairedComparison | None:
    """Values by seed against others, seed by seed; None when no seed has both."""
    seeds = sorted(values.keys() & reference.keys())
    if not seeds:
        return None
    differences, p = paired_differences(values, reference), None
    if max(differences) - min(differences) > _NO_SPREAD:
        pairs = [values[seed] for seed in seeds], [reference[seed] for seed in seeds]
        p = float(ttest_rel(*pairs).pvalue)
    return PairedComparison(statistics.mean(differences), p, len(seeds))


def paired_differences(values: Mapping[int, float], reference: Mapping[int, float]) -> list[float]:
    """Values less others, by the seeds that both have, in order."""
    return [values[seed] - reference[seed] for seed in sorted(values.keys() & reference.keys())]


def effect_of(differences: Sequence[float]) -> PairedEffect:
    """Interval and size of the mean of at least one difference."""
    n = len(differences)
    if n < _FEWEST_FOR_SPREAD:
        return PairedEffect(None, None, None)
    mean, sd = statistics.mean(differences), statistics.stdev(differences)
    half = float(student_t.ppf(0.975, n - 1)) * sd / math.sqrt(n)
    has_spread = max(differences) - min(differences) > _NO_SPREAD
    return PairedEffect(mean - half, mean + half, mean / sd if has_spread else None)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """p values corrected for their number, by Holm's step-down procedure.

    The i-th smallest of m is times m − i + 1, at most 1, and never less than one before it (Holm,
    "A Simple Sequentially Rejective Multiple Test Procedure", 1979). One that is not defined is
    counted in m and stays so.
    """
    corrected: list[float | None] = [None] * len(ps)
    defined = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    largest = 0.0
    for rank, (p, place) in enumerate(defined):
        largest = max(largest, min(1.0, (len(ps) - rank) * p))
        corrected[place] = largest
    return corrected


def mean_retention(matrices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of retention matrices of one arm; a cell that one of them lacks stays empty."""
    return {
        "stages": matrices[0]["stages"],
        "loss": [_mean_cells(rows) for rows in zip(*(m["loss"] for m in matrices), strict=True)],
        "top1": _mean_cells([m["top1"] for m in matrices]),
    }


def loss_ratios(loss: Matrix) -> Matrix:
    """Each stage's loss over what it was just after that stage: 1 is kept, 2 is twice as far.

    Args:
        loss: square, a row a stage, a column for each stage after which it was measured.
    """
    return [[_ratio(value, row[place]) for value in row] for place, row in enumerate(loss)]


def _mean_cells(rows: Sequence[Sequence[float | None]]) -> list[float | None]:
    return [_mean(cells) for cells in zip(*rows, strict=True)]


def _mean(cells: Sequence[float | None]) -> float | None:
    measured = [cell for cell in cells if cell is not None]
    return statistics.mean(measured) if len(measured) == len(cells) else None


def _ratio(value: float | None, start: float | None) -> float | None:
    if value is None or not start or not math.isfinite(value / start):
        return None
    return value / start
