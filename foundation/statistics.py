"""Shares of a count, and what is sure of them."""

from __future__ import annotations

import math
from statistics import NormalDist

_Z_95 = 1.959963984540054


def z_for_all_of(count: int) -> float:
    """The z of intervals at 95 % that hold for all of so many at once (Bonferroni); 1.96 of one."""
    return NormalDist().inv_cdf(1 - 0.025 / count)


def wilson_interval(successes: float, trials: int, z: float = _Z_95) -> tuple[float, float]:
    """The confidence interval of a share, by Wilson's score; at 95 % unless told otherwise.

    Unlike the textbook's normal interval it is right near 0 and 1 and for few trials, and
    stays within 0..1.

    Raises:
        ValueError: when the counts are none of a share.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"there are no {successes} of {trials}")
    share, square = successes / trials, z**2
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    spread = math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    half = z * spread / (1 + square / trials)
    # The share itself lies within; rounding may say otherwise where it is 0 or 1.
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def paired_difference(lost: int, won: int, n: int, z: float = _Z_95) -> tuple[float, float, float]:
    """How far a share fell between two looks at the same things, with its 95 % interval.

    Only those of which the two looks differ tell anything, so the interval is far narrower than
    that of two shares. It is Bonett and Price's adjusted Wald interval for paired shares (2012),
    which holds where few differ or none.

    Args:
        lost: that were counted the first time alone.
        won: that were counted the second time alone.
        n: all there are.
        z: of the interval.

    Raises:
        ValueError: when the counts are none of a share.
    """
    if min(lost, won) < 0 or lost + won > n or n < 1:
        raise ValueError(f"there are no {lost} and {won} of {n}")
    p_lost, p_won = (lost + 1) / (n + 2), (won + 1) / (n + 2)
    spread = z * math.sqrt((p_lost + p_won - (p_lost - p_won) ** 2) / (n + 2))
    middle = p_lost - p_won
    return (lost - won) / n, middle - spread, middle + spread
