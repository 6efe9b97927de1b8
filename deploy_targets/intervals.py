"""A confidence interval that needs no bell curve: Wilcoxon's signed ranks, turned around.

Under the one assumption that a difference between two equal things is as often above
zero as below it, of any size, its coverage is exact for any number of differences. A
few rounds spoilt by something else on the machine widen it a little and move it less;
a t-interval they would pull along.
"""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """An estimate, with the bounds that hold at the confidence asked for."""

    estimate: float
    low: float
    high: float


def fewest_differences(confidence: float) -> int:
    """How many differences an interval of that confidence needs at least."""
    n = 1
    while 2 ** (1 - n) > 1 - confidence:
        n += 1
    return n


_FEWEST_PAIRS, _MOST_CORRELATION = 6, 0.95

# Two-sided, so that each bound holds at 99 %, as those of a percentile do.
CONFIDENCE = 0.98
FEWEST_ROUNDS = fewest_differences(CONFIDENCE)


def signed_rank_interval(differences: Sequence[float], confidence: float) -> Interval:
    """Where the middle of the differences lies (Hodges and Lehmann).

    Args:
        differences: independent, one for each round.
        confidence: such as 0.95.

    Raises:
        ValueError: when there are fewer than `fewest_differences`.
    """
    if len(differences) < fewest_differences(confidence):
        raise ValueError(
            f"a confidence of {confidence} needs {fewest_differences(confidence)} differences, "
            f"but got {len(differences)}"
        )
    averages = sorted(
        (first + second) / 2 for i, first in enumerate(differences) for second in differences[i:]
    )
    outside = _rank_sum_quantile(len(differences), (1 - confidence) / 2)
    return Interval(statistics.median(averages), averages[outside], averages[-1 - outside])


def rank_sum_interval(
    before: Sequence[float], after: Sequence[float], confidence: float, correlation: float = 0.0
) -> Interval | None:
    """By how much values shifted (Hodges and Lehmann), with the bounds of Mann and Whitney's test.

    Args:
        before, after: values, of any distribution; that of both is alike but for the shift.
        confidence: such as 0.95.
        correlation: of neighbours with each other (0..1): values that share a moment are fewer
            witnesses than they are values, and the bounds lie wider by what that takes away.

    Returns:
        None where the values are too few for bounds of that confidence.
    """
    m, n = len(before), len(after)
    if _shift_outside(m, n, confidence) < 1:
        return None
    shifts = sorted(later - earlier for earlier in before for later in after)
    # Where so few witnesses would have bounds beyond all shifts, the outermost stand for them.
    k = max(1, _shift_outside(m, n, confidence, (1 + correlation) / (1 - correlation)))
    return Interval(statistics.median(shifts), shifts[k - 1], shifts[-k])


def _shift_outside(m: int, n: int, confidence: float, fewer: float = 1.0) -> int:
    """Which shift from either end is a bound; 0 or less where there are too few."""
    spread = math.sqrt(fewer * m * n * (m + n + 1) / 12)
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    # Half a rank less, for ranks are whole numbers.
    return math.floor(m * n / 2 - z * spread - 0.5)


def neighbours_correlation(parts: Sequence[Sequence[float]]) -> float:
    """How far neighbours in the order of time are alike (0..0.95): the correlation of ranks of
    each value with the next, over parts within which the level is taken to stay.

    A negative one counts as none. So few values as there are hide some of it: a correction for
    their number is added.
    """
    pairs: list[tuple[float, float]] = []
    for part in parts:
        middle = statistics.median(part) if part else 0.0
        away = [value - middle for value in part]
        pairs += itertools.pairwise(away)
    if len(pairs) < _FEWEST_PAIRS:
        return 0.0
    firsts, seconds = (_ranks(values) for values in zip(*pairs, strict=True))
    try:
        found = statistics.correlation(firsts, seconds)
    except statistics.StatisticsError:  # all alike
        return 0.0
    # Of n values of one level, the estimate lies below the truth by about (1 + 4ρ)/n (Kendall).
    n = len(pairs) / max(1, len(parts))
    return min(_MOST_CORRELATION, max(0.0, found + (1 + 4 * max(0.0, found)) / n))


def _ranks(values: Sequence[float]) -> list[float]:
    """The place of each value among all; those that are alike share theirs."""
    ordered = sorted(values)
    return [(bisect.bisect_left(ordered, v) + bisect.bisect_right(ordered, v)) / 2 for v in values]


def _rank_sum_quantile(n: int, probability: float) -> int:
    """The largest sum of positive ranks that n fair signs keep to with at most `probability`."""
    ways = [1]
    for rank in range(1, n + 1):
        longer = ways + [0] * rank
        for total, count in enumerate(ways):
            longer[total + rank] += count
        ways = longer
    allowed, reached, k = probability * 2**n, 0, -1
    while reached + ways[k + 1] <= allowed:
        k += 1
        reached += ways[k]
    return k
