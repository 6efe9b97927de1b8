"""Would a network answer better if its images were prepared in one of the usual ways?

Weights that come without a word on how their images were prepared leave a guess, and the labels
show when it is wrong: this looks, before anything is exported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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

_IMAGES = 128
_BATCH = 16
_SURE = 0.001  # of several ways one may look better by chance
_CROP_PCT = 0.875

# Of pixels on the scale 0..1: as they are, as 0..255, and from −1 to 1.
_SCALES = {"0 to 1": (0.0, 1.0), "0 to 255": (0.0, 1 / 255), "-1 to 1": (0.5, 0.5)}


@dataclass(frozen=True)
class _Way:
    """A usual way to prepare images: what is other about it, as a user would write it."""

    preprocessing: Preprocessing
    keys: str


def remark_on_preparation(
    predict: Predict, images: ImageSet, own: Preprocessing, source: str, say: Say
) -> None:
    """Say where one of the usual ways to prepare images is clearly the better one.

    Args:
        predict: the network.
        images: labelled pictures.
        own: how they are prepared now.
        source: the network, for the message.
        say: told about it.
    """
    ids = spread(len(images.labels), _IMAGES)
    labels = images.labels[ids]
    now = _named_rightly(predict, images, ids, own)
    best, way = now, None
    for other in _ways(own):
        right = _named_rightly(predict, images, ids, other.preprocessing)
        if right.sum() > best.sum():
            best, way = right, other
    if way is None or _chance_of(now, best) > _SURE or not _knows_something(best, labels):
        return
    say(
        f"{source}: answers {int(now.sum())} of {len(labels)} labelled images rightly as they are "
        f"prepared here, but {int(best.sum())} with {way.keys}: it was most likely trained so; "
        "say so and export it anew"
    )


def _named_rightly(
    predict: Predict, images: ImageSet, ids: NDArray[np.int64], way: Preprocessing
) -> NDArray[np.bool_]:
    fit, answers = Fit.of(way), []
    for start in range(0, len(ids), _BATCH):
        pixels = images.read(ids[start : start + _BATCH], fit)
        answers.append(predict(way.apply(pixels)).argmax(1))
    return np.asarray(np.concatenate(answers) == images.labels[ids])


def _knows_something(right: NDArray[np.bool_], labels: NDArray[np.int64]) -> bool:
    """Whether answers are better than one who always names the most frequent class."""
    low, _ = wilson_interval(int(right.sum()), len(right))
    return bool(low > np.bincount(labels).max() / len(labels))


def _chance_of(now: NDArray[np.bool_], then: NDArray[np.bool_]) -> float:
    """How likely so many more right answers are if neither way is the better one (sign test)."""
    won, lost = int((then & ~now).sum()), int((now & ~then).sum())
    differ = won + lost
    return float(sum(comb(differ, k) for k in range(won, differ + 1)) / 2**differ)


def _ways(own: Preprocessing) -> Iterator[_Way]:
    """The usual ways that are other than what is done now."""
    for fit_keys, fitted in _fits(own):
        for scale_keys, way in _scaled(fitted):
            keys = [part for part in (fit_keys, scale_keys) if part]
            if keys:
                yield _Way(way, " and ".join(keys))


def _fits(own: Preprocessing) -> Iterator[tuple[str, Preprocessing]]:
    yield "", own
    if own.fit != "crop":
        sides = [int(own.height / _CROP_PCT), int(own.width / _CROP_PCT)]
        yield (
            f'data.preprocessing.fit = "crop", data.preprocessing.crop_pct = {_CROP_PCT}',
            replace(own, fit="crop", resize_to=sides),
        )
    if own.fit != "squash":
        yield 'data.preprocessing.fit = "squash"', replace(own, fit="squash", resize_to=None)


def _scaled(own: Preprocessing) -> Iterator[tuple[str, Preprocessing]]:
    yield "", own
    scales = {words: ([mean], [std]) for words, (mean, std) in _SCALES.items()}
    scales = {
        words: (mean * own.channels, std * own.channels) for words, (mean, std) in scales.items()
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
