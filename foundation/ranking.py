"""How well logits rank: the area under the ROC curve of two classes, and top-k."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.resampling import drawn_images, score_of
from foundation.scores import Score
from foundation.statistics import wilson_interval

Classes = NDArray[np.int64]


def roc_area(labels: Classes, scores: NDArray[np.floating[Any]]) -> float:
    """The area under the ROC curve of two classes: how often an image of class 1 has the higher
    score of a pair with one of class 0; equal ones count half (Mann and Whitney 1947).

    Args:
        labels: 0 or 1, int64 (N,).
        scores: higher for class 1, (N,).

    Returns:
        NaN where one of the classes has no image.
    """
    return _area(labels == 1, np.unique(scores, return_inverse=True)[1])


def _area(of_one: NDArray[np.bool_], ranks: NDArray[np.int64]) -> float:
    levels = int(ranks.max()) + 1
    above = np.bincount(ranks[of_one], minlength=levels)
    below = np.bincount(ranks[~of_one], minlength=levels)
    pairs = above.sum() * below.sum()
    wins = (above * (np.cumsum(below) - below / 2)).sum()
    return float(wins / pairs) if pairs else float("nan")


def auroc(labels: Classes, scores: NDArray[np.floating[Any]]) -> Score | None:
    """`roc_area` with its bootstrap interval; None where one of the classes has no image."""
    of_one, ranks = labels == 1, np.unique(scores, return_inverse=True)[1]
    if of_one.all() or not of_one.any():
        return None
    value, n = _area(of_one, ranks), len(labels)
    drawn = [_area(of_one[images], ranks[images]) for images in drawn_images(n)]
    return score_of(value, np.array(drawn), wilson_interval(value * n, n))


def few_best(classes: int) -> int | None:
    """The k of top-k: 5, of fewer than ten classes half of them; None where that is no more than
    top-1."""
    k = min(5, classes // 2)
    return k if k > 1 else None


def among_best(logits: NDArray[np.floating[Any]], labels: Classes, k: int) -> NDArray[np.bool_]:
    """Which images have their class among the k largest logits (N, classes); (N,).

    Of equal logits the first counts as the larger, as for the class that is named.
    """
    own = np.take_along_axis(logits, labels[:, None], 1)
    earlier = np.arange(logits.shape[1])[None, :] < labels[:, None]
    ahead = (logits > own) | ((logits == own) & earlier)
    return np.asarray(ahead.sum(1) < k)
