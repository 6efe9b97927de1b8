"""Sets of labelled images: how the road reads them, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Ids = NDArray[np.int64]

_BLOCK = 256


class ImageSet(Protocol):
    """Labelled images of one size.

    Attributes:
        labels: class of every image, shape (N,).
    """

    @property
    def labels(self) -> Labels: ...

    def read(self, ids: Ids) -> Images:
        """The images with these numbers (0..N−1): uint8, shape (len(ids), H, W, C).

        Several threads may read at once.
        """
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
        images: the set they are from; of a subset, that is the set which it is from.
        ids: their numbers there.
    """

    def __init__(self, images: ImageSet, ids: Ids) -> None:
        self.images: ImageSet = images.images if isinstance(images, Subset) else images
        self.ids: Ids = np.asarray(images.ids[ids] if isinstance(images, Subset) else ids, np.int64)
        self.labels: Labels = images.labels[ids]

    def read(self, ids: Ids) -> Images:
        return self.images.read(self.ids[ids])


def in_memory(images: ImageSet) -> bool:
    """Whether images, or those that they are a part of, lie in memory."""
    return isinstance(images.images if isinstance(images, Subset) else images, ArrayImages)


class Resized:
    """Another set's images at a size of their own; those that have it are left as they are."""

    def __init__(self, images: ImageSet, height: int, width: int) -> None:
        self.images, self.height, self.width = images, height, width

    @property
    def labels(self) -> Labels:
        return self.images.labels

    def read(self, ids: Ids) -> Images:
        return resized(self.images.read(ids), self.height, self.width)


def resized(pixels: Images, height: int, width: int) -> Images:
    """Images at another size, bilinear as Pillow does it: uint8, shape (N, height, width, C)."""
    n, old_height, old_width, channels = pixels.shape
    if (old_height, old_width) == (height, width):
        return pixels
    result = np.empty((n, height, width, channels), np.uint8)
    for index, image in enumerate(pixels):
        picture = picture_of(image).resize((width, height), Image.Resampling.BILINEAR)
        result[index] = np.asarray(picture).reshape(height, width, channels)
    return result


def picture_of(image: Images) -> Image.Image:
    """An image of shape (H, W, C) for Pillow, where a grey one has no channel axis."""
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def blocks(count: int, size: int = _BLOCK) -> Iterator[Ids]:
    """The numbers 0..count−1 in order, at most `size` at a time."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


def sample_of(images: ImageSet, count: int) -> ArrayImages:
    """At most `count` images, spread evenly over the set, in memory."""
    ids = spread(len(images.labels), count)
    return ArrayImages(images.read(ids), images.labels[ids])


def spread(total: int, count: int) -> Ids:
    """At most `count` numbers, spread evenly over 0..total−1."""
    return np.unique(np.linspace(0, total - 1, min(count, total)).astype(np.int64))
