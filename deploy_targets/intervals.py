"""A confidence interval that needs no bell curve: Wilcoxon's signed ranks, turned around.

Under the one assumption that a difference between two equal things is as often above
zero as below it, of any size, its coverage is exact for any number of differences. A
few rounds spoilt by something else on the machine widen it a little and move it less;
a t-interval they would pull along.
"""

from __future__ import annotations

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
