"""Sets of labelled images: how the road reads them, wherever they lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Ids = NDArray[np.int64]


class ImageSet(Protocol):
    """Labelled images of one size.

    Attributes:
        labels: class of every image, shape (N,).
    """

    @property
    def labels(self) -> Labels: ...

    def read(self, ids: Ids) -> Images:
        """The images with these numbers (0..N−1): uint8, shape (len(ids), H, W, C)."""
        ...


@dataclass(frozen=True)
class ArrayImages:
    """Images that lie in memory: pixels uint8 (N, H, W, C) and labels (N,)."""

    pixels: Images
    labels: Labels

    def read(self, ids: Ids) -> Images:
        return self.pixels[ids]


class Subset:
    """Some images of another set; numbers count within the subset.

    Args:
        images: the set they are from.
        ids: their numbers there.
    """

    def __init__(self, images: ImageSet, ids: Ids) -> None:
        self.images, self.ids = images, np.asarray(ids, np.int64)

    @property
    def labels(self) -> Labels:
        return self.images.labels[self.ids]

    def read(self, ids: Ids) -> Images:
        return self.images.read(self.ids[ids])


def sample_of(images: ImageSet, count: int) -> ArrayImages:
    """At most `count` images, spread evenly over the set, in memory."""
    total = len(images.labels)
    ids = np.unique(np.linspace(0, total - 1, min(count, total)).astype(np.int64))
    return ArrayImages(images.read(ids), images.labels[ids])
