"""Percentiles of a sample, with bounds that hold whatever its distribution is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deploy_targets.device.messages import Percentile

# Of each bound by itself.
CONFIDENCE = 0.99


def fewest_queries(percent: float, confidence: float = CONFIDENCE) -> int:
    """How many queries a percentile needs at least: MLPerf's early stopping, with one to spare.

    So many that the second largest lies above the percentile with that confidence: 64 for the
    90th, 130 for the 95th, 662 for the 99th. Below the median it is the mirror image.
    """
    below = max(percent, 100 - percent) / 100
    n = 2
    while below**n + n * (1 - below) * below ** (n - 1) > 1 - confidence:
        n += 1
    return n


def percentile_of(ordered: Sequence[float], percent: float) -> Percentile | None:
    """A percentile with its bounds, each one of the values; None when they are too few for it.

    Args:
        ordered: values in ascending order.
        percent: between 0 and 100.
    """
    n = len(ordered)
    if n < fewest_queries(percent):
        return None
    # How many of the values may lie below the true percentile is a binomial number: the lower
    # bound's rank is one that it hardly falls short of, the upper's one that it hardly reaches.
    share = percent / 100
    low = _seldom(n, share)
    high = n + 1 - _seldom(n, 1 - share)
    return Percentile(nearest_rank(ordered, percent), ordered[low - 1], ordered[high - 1])


def nearest_rank(ordered: Sequence[float], percent: float) -> float:
    """The smallest of ascending values with `percent` % of all at or below it."""
    # Rounded: 99.9 % of 1000 is 999, and not a little more.
    return ordered[max(1, math.ceil(round(percent * len(ordered) / 100, 6))) - 1]


def _seldom(n: int, share: float) -> int:
    """The largest k that a binomial number of n falls short of with at most 1 - CONFIDENCE."""
    log_odds = math.log(share) - math.log1p(-share)
    log_ways, reached, k = n * math.log1p(-share), 0.0, 0
    while True:
        reached += math.exp(log_ways)
        if reached > 1 - CONFIDENCE:
            return k
        log_ways += math.log(n - k) - math.log(k + 1) + log_odds
        k += 1
