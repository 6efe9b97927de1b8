"""Which images an epoch has: each once, or those of rare classes more often.

"balanced" draws from all classes alike; "sqrt" by the root of their counts, which lies between
(Mahajan et al., "Exploring the Limits of Weakly Supervised Pretraining", ECCV 2018, section 2.2).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.data.images import Ids, Labels

Sampling = Literal["balanced", "sqrt"]
_POWERS: dict[Sampling, float] = {"balanced": 0.0, "sqrt": 0.5}


def drawn_shares(labels: Labels, sampling: Sampling | None, classes: int) -> NDArray[np.float64]:
    """Each class's share of the images that are drawn, (classes,), summing to 1.

    Images without a label (below 0) count for no class.
    """
    counts = np.bincount(labels[labels >= 0], minlength=classes).astype(np.float64)
    power = 1.0 if sampling is None else _POWERS[sampling]
    shares = np.where(counts > 0, counts**power, 0.0)
    total = shares.sum()
    return shares / total if total else shares


def drawn_ids(labels: Labels, sampling: Sampling | None, random: np.random.Generator) -> Ids:
    """What is drawn for an epoch, in its order, (len(labels),): number of the image + N · copy.

    Of a class that is drawn k times and has n images, each is drawn k // n times, and some once
    more; which, changes with each epoch. Images without a label are drawn once each. The copies of
    an image that is drawn several times are numbered from 0, so that each can be varied anew.
    """
    if sampling is None:
        return random.permutation(len(labels))
    own = np.flatnonzero(labels >= 0)
    shares = drawn_shares(labels, sampling, int(labels.max(initial=0)) + 1)
    drawn = [np.flatnonzero(labels < 0)]
    for number, count in enumerate(_rounded(shares * len(own))):
        ids = np.flatnonzero(labels == number)
        drawn.append(_drawn_of(ids, count, len(labels), random))
    return random.permutation(np.concatenate(drawn))


def _rounded(counts: NDArray[np.float64]) -> list[int]:
    """Whole numbers with the same sum: those with the largest remainders are rounded up."""
    whole = np.floor(counts).astype(np.int64)
    missing = round(float(counts.sum())) - int(whole.sum())
    largest = np.argsort(whole - counts, kind="stable")[:missing]
    whole[largest] += 1
    return [int(count) for count in whole]


def _drawn_of(ids: Ids, count: int, step: int, random: np.random.Generator) -> Ids:
    if not count:
        return ids[:0]
    times, rest = divmod(count, len(ids))
    whole = [ids + copy * step for copy in range(times)]
    return np.concatenate([*whole, random.permutation(ids)[:rest] + times * step])
