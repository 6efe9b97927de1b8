"""Random erasing (Zhong et al. 2017, arXiv 1708.04896), each image drawing its own box."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.data.draws import Purpose, numbers
from pipeline.data.images import Ids

_AREA = (0.02, 0.33)
_ASPECT = (0.3, 3.3)
_TRIES = 10

Box = tuple[int, int, int, int]


def erase(images: NDArray[np.float32], ids: Ids, seed: int, view: int, probability: float) -> None:
    """Set a box of each image to nought, the mean of its channels, with this probability.

    Area and shape are drawn as torchvision's RandomErasing draws them.

    Args:
        images: normalised, shape (N, H, W, C); changed where they lie.
        ids: number of each sample in its dataset, shape (N,).
        seed, view: as for `augmented`.
        probability: of each image to lose a box.
    """
    _, height, width, _ = images.shape
    for image, sample in zip(images, ids.tolist(), strict=True):
        draws = numbers(seed, sample, view, Purpose.ERASING)
        box = drawn_box(draws, height, width) if next(draws) < probability else None
        if box is not None:
            top, left, bottom, right = box
            image[top:bottom, left:right] = 0


def drawn_box(draws: Iterator[float], height: int, width: int) -> Box | None:
    """Top, left, bottom and right of what is erased; None where none of ten boxes would fit."""
    shortest, longest = math.log(_ASPECT[0]), math.log(_ASPECT[1])
    for _ in range(_TRIES):
        area = height * width * (_AREA[0] + (_AREA[1] - _AREA[0]) * next(draws))
        aspect = math.exp(shortest + (longest - shortest) * next(draws))
        rows, columns = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < rows < height and 0 < columns < width:
            top = int(next(draws) * (height - rows + 1))
            left = int(next(draws) * (width - columns + 1))
            return top, left, top + rows, left + columns
    return None
