"""From encoded images, wherever they lie, to arrays of one size."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foundation.errors import DataLayoutError, UnreadableImageError
from pipeline.data import Dataset
from pipeline.data.images import ArrayImages, Ids, Images, ImageSet, Labels, Subset, blocks
from pipeline.recipe import DataRecipe

_IN_MEMORY_BYTES = 2**31
_BLOCK = 2048  # images that are under way at once when a whole set is gone through


class EncodedImages(Protocol):
    """Images as files hold them, by number."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What a message calls an image."""
        ...

    def open(self, index: int) -> Path | BytesIO:
        """What Pillow reads an image from."""
        ...


@dataclass(frozen=True)
class Split:
    """One split of a dataset, as it lies.

    Attributes:
        where: its place, for messages.
        images: the images.
        labels: class of each, shape (N,).
    """

    where: Path
    images: EncodedImages
    labels: Labels


class DecodedImages:
    """Images that are decoded each time they are read, for sets that do not fit in memory."""

    def __init__(self, encoded: EncodedImages, labels: Labels, size: int) -> None:
        self.encoded, self.labels, self.size = encoded, labels, size

    def read(self, ids: Ids) -> Images:
        pixels = np.empty((len(ids), self.size, self.size, 3), np.uint8)

        def put(place: int) -> None:
            pixels[place] = decode(self.encoded, int(ids[place]), self.size)

        with ThreadPoolExecutor() as pool:
            for _ in pool.map(put, range(len(ids))):
                pass
        return pixels


def decode(encoded: EncodedImages, index: int, size: int) -> Images:
    """One image as uint8 (size, size, 3).

    Raises:
        UnreadableImageError: when it cannot be decoded.
    """
    try:
        with Image.open(encoded.open(index)) as image:
            rgb = image.convert("RGB")
    except Exception as error:  # a decoder fails in ways of its own
        raise UnreadableImageError(
            f"{encoded.name(index)}: not a readable image ({type(error).__name__}); take it away, "
            'or set on_bad_image = "skip" in [data]'
        ) from error
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(rgb)


def dataset_of(
    train: Split, test: Split, classes: list[str], size: int | None, recipe: DataRecipe
) -> Dataset:
    """A dataset of two splits, decoded into memory where they fit.

    Args:
        train, test: the splits.
        classes: names of the classes.
        size: height and width that images are brought to; None takes the first one's shorter side.
        recipe: says what to do with an image that cannot be decoded.

    Raises:
        UnreadableImageError: when an image cannot be decoded, and is not to be passed over.
        DataLayoutError: when passing over leaves a class without images.
    """
    size = size or _size_of_first(train)
    (train_images, train_bad), (test_images, test_bad) = (
        _loaded(part, classes, size, recipe) for part in (train, test)
    )
    return Dataset(train_images, test_images, classes, (*train_bad, *test_bad))


def _size_of_first(split: Split) -> int:
    for index in range(len(split.images)):
        with contextlib.suppress(Exception), Image.open(split.images.open(index)) as image:
            return min(image.size)
    raise UnreadableImageError(f"{split.where}: not one readable image")


def _loaded(
    split: Split, classes: list[str], size: int, recipe: DataRecipe
) -> tuple[ImageSet, list[str]]:
    """A split's images, and the names of those that were passed over."""
    images: ImageSet = DecodedImages(split.images, split.labels, size)
    skipped: list[str] = []
    if recipe.on_bad_image == "skip":
        readable = _readable(split.images, size)
        skipped = [split.images.name(index) for index in np.flatnonzero(~readable).tolist()]
        images = Subset(images, np.flatnonzero(readable))
        for missing in np.setdiff1d(np.arange(len(classes)), images.labels).tolist():
            raise DataLayoutError(
                f"{split.where}: not one readable image of class {classes[missing]!r}"
            )
    if len(images.labels) * size * size * 3 <= _IN_MEMORY_BYTES:
        images = _in_memory(images, size)
    return images, skipped


def _in_memory(images: ImageSet, size: int) -> ArrayImages:
    pixels = np.empty((len(images.labels), size, size, 3), np.uint8)
    for ids in blocks(len(pixels), _BLOCK):
        pixels[ids[0] : ids[-1] + 1] = images.read(ids)
    return ArrayImages(pixels, images.labels)


def _readable(encoded: EncodedImages, size: int) -> NDArray[np.bool_]:
    """Which images can be decoded: shape (N,), bool."""

    def is_readable(index: int) -> bool:
        try:
            decode(encoded, index, size)
        except UnreadableImageError:
            return False
        return True

    readable = np.empty(len(encoded), np.bool_)
    with ThreadPoolExecutor() as pool:
        # Block by block: the pool keeps a record of everything that it is given at once.
        for ids in blocks(len(encoded), _BLOCK):
            readable[ids] = list(pool.map(is_readable, ids.tolist()))
    return readable
