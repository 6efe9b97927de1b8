"""Percentiles of a sample, with bounds that hold whatever its distribution is."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

from deploy_targets.device.messages import Percentile
from foundation.sense import LARGEST_PERCENT, SMALLEST_PERCENT, is_percentile

# Of each bound by itself.
CONFIDENCE = 0.99

# Of so many values, all fall on one side of the median less often than once in a hundred times: the
# least and the most are bounds of it.
FEWEST_FOR_BOUNDS = 7

SMALLEST, LARGEST = SMALLEST_PERCENT, LARGEST_PERCENT
BOUNDS = f"{SMALLEST:g} to {LARGEST:g}"


def fewest_queries(percent: float, confidence: float = CONFIDENCE) -> int:
    """How many queries a percentile needs at least: MLPerf's early stopping, with one to spare.

    So many that the second largest lies above the percentile with that confidence: 64 for the
    90th, 130 for the 95th, 662 for the 99th. Below the median it is the mirror image.

    Raises:
        ValueError: when the percentile is not from `SMALLEST` to `LARGEST`.
    """
    if not is_percentile(percent):
        raise ValueError(f"a percentile must be from {BOUNDS}, but got {percent:g}")
    above = min(percent, 100 - percent) / 100
    log_below, log_doubt = math.log1p(-above), math.log(1 - confidence)

    def is_enough(n: int) -> bool:
        return (n - 1) * log_below + math.log1p((n - 1) * above) <= log_doubt

    high = 2
    while not is_enough(high):
        high *= 2
    return bisect.bisect_left(range(high), True, lo=2, key=is_enough)


def percentile_of(ordered: Sequence[float], percent: float) -> Percentile | None:
    """A percentile with its bounds, each one of the values; None when they are too few for it.

    Args:
        ordered: values in ascending order.
        percent: from `SMALLEST` to `LARGEST`.
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
    if share > 0.5:
        # Counted from the other end, which is nearer.
        return n - _first_reaching(CONFIDENCE, n, 1 - share)
    return _first_reaching(1 - CONFIDENCE, n, share)


def _first_reaching(probability: float, n: int, share: float) -> int:
    """The first k that a binomial number of n is at or below with more than a probability."""
    log_odds = math.log(share) - math.log1p(-share)
    # What lies farther below the mean than this is no matter.
    k = max(0, int(n * share - 12 * math.sqrt(n * share * (1 - share)) - 30))
    log_ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    log_ways += k * math.log(share) + (n - k) * math.log1p(-share)
    reached = 0.0
    while k < n:
        reached += math.exp(log_ways)
        if reached > probability:
            return k
        log_ways += math.log(n - k) - math.log(k + 1) + log_odds
        k += 1
    return n
