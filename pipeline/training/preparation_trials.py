"""Would a network answer better if its images were prepared in one of the usual ways?

Weights that come without a word on how their images were prepared leave a guess, and the labels
show when it is wrong: this looks, before anything is exported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from math import comb

import numpy as np
from numpy.typing import NDArray

from foundation.preprocessing import Preprocessing
from foundation.statistics import wilson_interval
from pipeline.data.framing import Fit
from pipeline.data.images import ImageSet, spread
from pipeline.models.preparation import KNOWN
from pipeline.run_folder.folder import Say

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From prepared images (N, C, H, W) to logits (N, classes)."""

_Way = tuple[str, Preprocessing]
"""A way to prepare images, and what is other about it as a user would write it."""

_IMAGES = 128
_FEW = 48  # decide which way is worth asking about the others
_BATCH = 8
_SURE = 0.001  # of several ways one may look better by chance
_CROP_PCT = 0.875

# Of pixels on the scale 0..1: as they are, as 0..255, and from −1 to 1.
_SCALES = {"0 to 1": (0.0, 1.0), "0 to 255": (0.0, 1 / 255), "-1 to 1": (0.5, 0.5)}


def remark_on_preparation(
    predict: Predict, images: ImageSet, own: Preprocessing, source: str, say: Say
) -> None:
    """Say where one of the usual ways to prepare images is clearly the better one.

    Every way is tried on some of the images, and the best of them on all.

    Args:
        predict: the network.
        images: labelled pictures.
        own: how they are prepared now.
        source: the network, for the message.
        say: told about it.
    """
    ids = spread(len(images.labels), _IMAGES)
    few = spread(len(ids), _FEW)
    some, rest = _Trial(predict, images, ids[few]), _Trial(predict, images, np.delete(ids, few))
    keys, best = _most_promising(some, own)
    if some.count(best) <= some.count(own):
        return
    now, then = (
        np.concatenate([some.named_rightly(way), rest.named_rightly(way)]) for way in (own, best)
    )
    labels = images.labels[ids]
    if _chance_of(now, then) > _SURE or not _knows_something(then, labels):
        return
    say(
        f"{source}: answers {int(now.sum())} of {len(labels)} labelled images rightly as they are "
        f"prepared here, but {int(then.sum())} with {keys}: it was most likely trained "
        "so; say so and export it anew"
    )


def _most_promising(trial: _Trial, own: Preprocessing) -> _Way:
    """The usual way that names most of a trial's images rightly: a scale, a fit, or both."""
    scales, fits = list(_scales(own)), list(_fits(own))
    words, scaled = max(scales, key=lambda way: trial.count(way[1]))
    together = [(f"{fit_words} and {words}", way) for fit_words, way in _fits(scaled)]
    return max([*scales, *fits, *together], key=lambda way: trial.count(way[1]))


class _Trial:
    """Some labelled pictures and a network; pictures are read once in each fit."""

    def __init__(self, predict: Predict, images: ImageSet, ids: NDArray[np.int64]) -> None:
        self._predict, self._labels = predict, images.labels[ids]
        self._read = lru_cache(maxsize=3)(lambda fit: images.read(ids, fit))
        self._named: list[tuple[Preprocessing, NDArray[np.bool_]]] = []

    def count(self, way: Preprocessing) -> int:
        """How many pictures are named rightly if they are prepared so."""
        return int(self.named_rightly(way).sum())

    def named_rightly(self, way: Preprocessing) -> NDArray[np.bool_]:
        """Whether each picture is named rightly if it is prepared so, shape (N,); asked once."""
        for known, right in self._named:
            if known == way:
                return right
        right = np.asarray(self._answers(way) == self._labels)
        self._named.append((way, right))
        return right

    def _answers(self, way: Preprocessing) -> NDArray[np.int64]:
        if not len(self._labels):
            return self._labels
        pixels = self._read(Fit.of(way))
        starts = range(0, len(pixels), _BATCH)
        return np.concatenate(
            [self._predict(way.apply(pixels[i : i + _BATCH])).argmax(1) for i in starts]
        )


def _knows_something(right: NDArray[np.bool_], labels: NDArray[np.int64]) -> bool:
    """Whether answers are better than one who always names the most frequent class."""
    low, _ = wilson_interval(int(right.sum()), len(right))
    return bool(low > np.bincount(labels).max() / len(labels))


def _chance_of(now: NDArray[np.bool_], then: NDArray[np.bool_]) -> float:
    """How likely so many more right answers are if neither way is the better one (sign test)."""
    won, lost = int((then & ~now).sum()), int((now & ~then).sum())
    differ = won + lost
    return float(sum(comb(differ, k) for k in range(won, differ + 1)) / 2**differ)


def _fits(own: Preprocessing) -> Iterator[_Way]:
    """The usual fits that are other than this, as a user would write them."""
    if own.fit != "crop":
        sides = [int(own.height / _CROP_PCT), int(own.width / _CROP_PCT)]
        yield (
            f'data.preprocessing.fit = "crop", data.preprocessing.crop_pct = {_CROP_PCT}',
            replace(own, fit="crop", resize_to=sides),
        )
    if own.fit != "squash":
        yield 'data.preprocessing.fit = "squash"', replace(own, fit="squash", resize_to=None)


def _scales(own: Preprocessing) -> Iterator[_Way]:
    """The usual means and deviations that are other than these."""
    scales = {
        words: ([mean] * own.channels, [std] * own.channels)
        for words, (mean, std) in _SCALES.items()
    }
    if own.channels == 3:
        known = KNOWN["imagenet"]
        scales["ImageNet's"] = (list(known.mean or ()), list(known.std or ()))
    for words, (mean, std) in scales.items():
        if not _is_near(mean, own.mean) or not _is_near(std, own.std):
            numbers = f"data.mean = {_shown(mean)}, data.std = {_shown(std)} ({words})"
            yield numbers, replace(own, mean=mean, std=std)


def _is_near(first: list[float], second: list[float]) -> bool:
    return bool(np.allclose(first, second, atol=0.02))


def _shown(values: list[float]) -> str:
    return f"[{', '.join(f'{value:.4g}' for value in values)}]"
