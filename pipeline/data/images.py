"""Sets of labelled pictures: how the road takes images of them, wherever they lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.framing import Framing, framed, keeps_all

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Ids = NDArray[np.int64]

BLOCK = 256
"""At most so many images at a time, of small ones."""
_REMEMBERED_BYTES = 2**30


class ImageSet(Protocol):
    """Labelled pictures.

    Attributes:
        labels: class of every picture, shape (N,).
    """

    @property
    def labels(self) -> Labels: ...

    def read(self, ids: Ids, framing: Framing | None = None) -> Images:
        """Images of the pictures with these numbers (0..N−1): uint8, shape (len(ids), H, W, C).

        Several threads may read at once.

        Args:
            ids: the numbers.
            framing: where in the pictures the images are taken, from their original pixels; None
                takes them as the set has them of itself.
        """
        ...


@dataclass(frozen=True)
class ArrayImages:
    """Images that lie in memory.

    Attributes:
        pixels: uint8, shape (N, H, W, C).
        labels: shape (N,).
        framing: how they were taken from `source`, where there is one.
        source: the pictures that they were taken from; None where they are pictures themselves.
        name: what a message calls a picture, by its number; None where they have no names.
    """

    pixels: Images
    labels: Labels
    framing: Framing | None = None
    source: ImageSet | None = None
    name: Callable[[int], str] | None = None

    def read(self, ids: Ids, framing: Framing | None = None) -> Images:
        if framing is None or framing == self.framing:
            return self.pixels[ids]
        if self.source is not None:
            return self.source.read(ids, framing)
        return framed_pixels(self.pixels[ids], framing)


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

    def read(self, ids: Ids, framing: Framing | None = None) -> Images:
        return self.images.read(self.ids[ids], framing)


class Relabelled:
    """Another set's pictures with labels of their own, shape (N,)."""

    def __init__(self, images: ImageSet, labels: Labels) -> None:
        self.images, self.labels = images, labels

    def read(self, ids: Ids, framing: Framing | None = None) -> Images:
        return self.images.read(ids, framing)


class Framed:
    """Another set's pictures, taken in a framing unless another one is asked for."""

    def __init__(self, images: ImageSet, framing: Framing) -> None:
        self.images, self.framing = images, framing

    @property
    def labels(self) -> Labels:
        return self.images.labels

    def read(self, ids: Ids, framing: Framing | None = None) -> Images:
        return self.images.read(ids, framing or self.framing)


class Remembered:
    """Another set's pictures; images in one framing are kept once they were taken.

    Args:
        images: the pictures.
        framing: the framing.
        channels: of an image.
    """

    def __init__(self, images: ImageSet, framing: Framing, channels: int) -> None:
        self.images, self.framing = images, framing
        count = len(images.labels)
        self._pixels = np.empty((count, framing.height, framing.width, channels), np.uint8)
        self._is_kept = np.zeros(count, np.bool_)

    @property
    def labels(self) -> Labels:
        return self.images.labels

    def read(self, ids: Ids, framing: Framing | None = None) -> Images:
        if framing is not None and framing != self.framing:
            return self.images.read(ids, framing)
        # Two threads may take the same image: both take the same pixels.
        new = np.asarray(ids)[~self._is_kept[ids]]
        if len(new):
            self._pixels[new] = self.images.read(new, self.framing)
            self._is_kept[new] = True
        return self._pixels[ids]


def remembered(images: ImageSet, framing: Framing) -> ImageSet:
    """A set whose images in one framing are taken once, where they fit in memory and are not there
    already."""
    pictures = _whole_set(images)
    if isinstance(pictures, ArrayImages):
        shape = pictures.pixels.shape[1:3]
        if framing == pictures.framing or (pictures.source is None and keeps_all(framing, *shape)):
            return images
    if not len(images.labels):
        return images
    channels = images.read(np.arange(1), framing).shape[3]
    size = len(images.labels) * framing.height * framing.width * channels
    return Remembered(images, framing, channels) if size <= _REMEMBERED_BYTES else images


def in_memory(images: ImageSet, *framings: Framing) -> bool:
    """Whether all pictures, or those that they are a part of, lie in memory.

    Args:
        images: the set.
        framings: images in these alone are asked for; any where there are none.
    """
    pictures = _whole_set(images)
    if not isinstance(pictures, ArrayImages):
        return False
    has_these = bool(framings) and all(framing == pictures.framing for framing in framings)
    return pictures.source is None or has_these


def _whole_set(images: ImageSet) -> ImageSet:
    """The set that a part is of, as it lies."""
    while isinstance(images, Subset | Framed):
        images = images.images
    return images


def framed_pixels(pixels: Images, framing: Framing) -> Images:
    """Images of pictures that are arrays: uint8, shape (N, framing.height, framing.width, C).

    Args:
        pixels: uint8, shape (N, H, W, C) with one or three channels.
        framing: where in them they are taken.
    """
    n, height, width, channels = pixels.shape
    if keeps_all(framing, height, width):
        return pixels
    result = np.empty((n, framing.height, framing.width, channels), np.uint8)
    for index, image in enumerate(pixels):
        window = framing.window(index, height, width)
        left, top, right, bottom = window.box or (0, 0, width, height)
        part = image[top:bottom, left:right]
        taken = framed(part[..., 0] if channels == 1 else part, window, framing)
        result[index] = taken.reshape(result.shape[1:])
    return result


def picture_of(image: Images) -> Image.Image:
    """An image of shape (H, W, C) for Pillow, where a grey one has no channel axis."""
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def blocks(count: int, size: int = BLOCK) -> Iterator[Ids]:
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
