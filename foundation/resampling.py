"""Percentile bootstrap over images: how far a figure could lie from the one that was found.

Efron, "Bootstrap Methods: Another Look at the Jackknife" (1979). Images are drawn with replacement,
as many as there are; the interval leaves out the outermost 2.5 % on either side. What is drawn
depends on the number of images alone, so that two models' figures on the same images are drawn in
pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from foundation.scores import Score

REPLICATES = 1000
_SEED = 0
_OUTSIDE = 2.5

Values: TypeAlias = NDArray[np.float64]


def drawn_images(n: int, replicates: int = REPLICATES) -> Iterator[NDArray[np.int64]]:
    """Numbers of images, (n,), drawn with replacement, once a replicate; alike in each call."""
    random = np.random.default_rng(_SEED)
    for _ in range(replicates):
        yield random.integers(0, n, n)


def interval_of(values: Values) -> tuple[float, float]:
    """The 95 % percentile interval of replicates; NaN ones, of which there is no figure, aside."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [_OUTSIDE, 100 - _OUTSIDE])
    return float(low), float(high)


def score_of(value: float, replicates: Values, least: Sequence[float] = ()) -> Score:
    """A figure with the interval that its replicates give it.

    Where no drawn set of images differs from the others (no mistake was made on any), a bootstrap
    is sure of what it cannot know. So the interval also holds the bounds in `least`, which come of
    the number of images.
    """
    bounds = [value, *interval_of(replicates), *least]
    return Score(value, min(bounds), max(bounds))
