"""Figures that are shares of a count."""

from __future__ import annotations

import math

_Z_95 = 1.959963984540054


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share, by Wilson's score.

    Unlike the textbook's normal interval it is right near 0 and 1 and for few trials, and
    stays within 0..1.

    Raises:
        ValueError: when the counts are none of a share.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"there are no {successes} of {trials}")
    share, square = successes / trials, _Z_95**2
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    spread = math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    half = _Z_95 * spread / (1 + square / trials)
    return max(0.0, middle - half), min(1.0, middle + half)
