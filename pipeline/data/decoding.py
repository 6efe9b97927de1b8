"""From encoded images, wherever they lie, to arrays of one size."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from foundation.errors import DataLayoutError, UnreadableImageError
from foundation.labels import UNLABELLED
from pipeline.data import Dataset, sides_of
from pipeline.data.cache import PictureCache
from pipeline.data.fitting import fit_at
from pipeline.data.framing import Fit, Framing, Window, framed, keeps_all
from pipeline.data.images import (
    ArrayImages,
    Ids,
    Images,
    ImageSet,
    Labels,
    Subset,
    blocks,
)
from pipeline.data.kinds import a_few, shown
from pipeline.data.opening import UnseenError, Viewing
from pipeline.data.repeats import repeats
from pipeline.data.survey import Survey, surveyed
from pipeline.data.viewing import View, viewed
from pipeline.recipe.sections.data import DataRecipe

_IN_MEMORY_BYTES = 2**31
_FEW = 32  # images; who reads so few at once does so in threads of his own
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
    """Pictures that are decoded each time they are read.

    Args:
        encoded: the pictures.
        labels: class of each, shape (N,).
        framing: how images are taken of them unless another framing is asked for.
        viewing: how they are seen.

    Attributes:
        cache: keeps what training cuts its crops from; None decodes each time.
    """

    def __init__(
        self,
        encoded: EncodedImages,
        labels: Labels,
        framing: Framing,
        viewing: Viewing | None = None,
    ) -> None:
        self.encoded, self.labels, self.framing = encoded, labels, framing
        self.viewing = viewing or Viewing()
        self.cache: PictureCache | None = None

    def read(self, ids: Ids, framing: Framing | None = None) -> Images:
        framing = framing or self.framing
        pixels = np.empty((len(ids), framing.height, framing.width, 3), np.uint8)

        def put(place: int) -> None:
            pixels[place] = self._image(int(ids[place]), framing, place)

        if len(ids) <= _FEW:
            for place in range(len(ids)):
                put(place)
            return pixels
        with ThreadPoolExecutor() as pool:
            for _ in pool.map(put, range(len(ids))):
                pass
        return pixels

    def _image(self, index: int, framing: Framing, place: int) -> Images:
        if self.cache is not None:
            view_of = partial(viewed_in, self.encoded, index, self.viewing)
            image = self.cache.image(index, framing, place, view_of)
            if image is not None:
                return image
        return decode(self.encoded, index, framing, self.viewing, place)


def decode(
    encoded: EncodedImages,
    index: int,
    framing: Framing,
    viewing: Viewing | None = None,
    place: int = 0,
) -> Images:
    """One image as uint8 (framing.height, framing.width, 3).

    Args:
        encoded: the pictures.
        index: number of the picture.
        framing: where in it the image is taken.
        viewing: how it is seen.
        place: its number among those that are read at once, which the framing may go by.

    Raises:
        UnreadableImageError: when it cannot be decoded.
    """
    view = viewed_in(encoded, index, viewing or Viewing(), partial(framing.window, place))
    return framed(view.picture, view.window, framing)


def viewed_in(
    encoded: EncodedImages, index: int, viewing: Viewing, place: Callable[[int, int], Window]
) -> View:
    """One picture of a set; see `pipeline.data.viewing.viewed`.

    Raises:
        UnreadableImageError: when it cannot be decoded.
    """
    try:
        return viewed(encoded.open(index), viewing, place)
    except UnseenError as error:
        raise UnreadableImageError(
            f"{encoded.name(index)}: not a readable image ({error}); take it away, "
            'or set on_bad_image = "skip" in [data]'
        ) from error


def dataset_of(
    train: Split | None,
    test: Split | None,
    classes: list[str],
    size: int | tuple[int, int] | None,
    recipe: DataRecipe,
    *,
    validation: Split | None = None,
) -> Dataset:
    """A dataset of its splits, whose images are in memory where they fit.

    Args:
        train, test, validation: the splits, of which the first or the second is there.
        classes: names of the classes.
        size: height and width of the images, or one number for both; None decides it by looking.
        recipe: says how pictures are seen and fitted, and what to do with one that cannot be
            decoded.

    Raises:
        UnreadableImageError: when a picture cannot be decoded, and is not to be passed over.
        DataLayoutError: when passing over leaves a class without images.
    """
    first = test if train is None else train
    assert first is not None, "a dataset has images"
    survey = _survey(first, recipe)
    if size is None and survey.size is None:
        raise UnreadableImageError(f"{shown(first.where)}: not one readable image")
    sides = sides_of(size or survey.size or 0)
    fit = fit_at(sides_of(recipe.image_size or sides), recipe.preprocessing).at(*sides)
    parts = [
        None if part is None else _loaded(part, classes, fit, recipe, survey.viewing)
        for part in (train, test, validation)
    ]
    skipped = [name for part in parts if part is not None for name in part.skipped]
    remarks = [*survey.remarks(fit, size is not None), *_skipped_remark(skipped)]
    remarks += _repeats(parts[0], parts[1])
    train_images, test_images, validation_images = (
        None if part is None else part.images for part in parts
    )
    return Dataset(
        train_images,
        test_images,
        classes,
        tuple(skipped),
        tuple(remarks),
        survey.viewing.grey_bits,
        validation=validation_images,
    )


def _repeats(train: _Loaded | None, test: _Loaded | None) -> list[str]:
    """A line where images are there twice, of those in memory."""
    if train is None or test is None:
        return []
    if not isinstance(train.images, ArrayImages) or not isinstance(test.images, ArrayImages):
        return []
    return list(repeats(train.images, test.images, train.name, test.name))


def _survey(train: Split, recipe: DataRecipe) -> Survey:
    red, green, blue = recipe.ground
    viewing = Viewing((red, green, blue), most_pixels=round(recipe.max_megapixels * 1e6))
    return surveyed(train.images, viewing, recipe.grey_bits)


def _skipped_remark(names: list[str]) -> list[str]:
    if not names:
        return []
    return [
        f"{len(names)} images cannot be read and were passed over ({a_few(names)}), as "
        "data.on_bad_image says"
    ]


@dataclass(frozen=True)
class _Loaded:
    """A split's images, where each of them is from, and the names of those passed over."""

    images: ImageSet
    split: Split
    ids: Ids
    skipped: list[str]

    def name(self, index: int) -> str:
        """What a message calls an image."""
        return self.split.images.name(int(self.ids[index]))


def _loaded(
    split: Split, classes: list[str], fit: Fit, recipe: DataRecipe, viewing: Viewing
) -> _Loaded:
    images: ImageSet = DecodedImages(split.images, split.labels, fit, viewing)
    ids = np.arange(len(split.labels))
    skipped: list[str] = []
    if recipe.on_bad_image == "skip":
        readable = _readable(split.images, fit, viewing)
        skipped = [split.images.name(index) for index in np.flatnonzero(~readable).tolist()]
        ids = np.flatnonzero(readable)
        images = Subset(images, ids)
        for missing in np.setdiff1d(split.labels, images.labels).tolist():
            which = f" of class {classes[missing]!r}" if missing != UNLABELLED else ""
            raise DataLayoutError(f"{shown(split.where)}: not one readable image{which}")
    if len(images.labels) * fit.height * fit.width * 3 <= _IN_MEMORY_BYTES:
        named = _Loaded(images, split, ids, skipped)
        images = replace(_in_memory(images, fit), name=named.name)
    return _Loaded(images, split, ids, skipped)


def _in_memory(images: ImageSet, fit: Fit) -> ArrayImages:
    """All images of a set in memory; where they are whole pictures, no file is read again."""
    pixels = np.empty((len(images.labels), fit.height, fit.width, 3), np.uint8)
    watched = _Watched(fit)
    for ids in blocks(len(pixels), _BLOCK):
        pixels[ids[0] : ids[-1] + 1] = images.read(ids, watched)
    if watched.keeps_all:
        return ArrayImages(pixels, images.labels)
    return ArrayImages(pixels, images.labels, fit, images)


class _Watched:
    """A fit that notes whether every picture stayed as it is."""

    def __init__(self, fit: Fit) -> None:
        self.fit, self.keeps_all = fit, True
        self.height, self.width = fit.height, fit.width
        self.resize, self.antialias, self.pad_colour = fit.resize, fit.antialias, fit.pad_colour

    def window(self, place: int, height: int, width: int) -> Window:
        if not keeps_all(self.fit, height, width):
            self.keeps_all = False
        return self.fit.window(place, height, width)


def _readable(encoded: EncodedImages, fit: Fit, viewing: Viewing) -> NDArray[np.bool_]:
    """Which pictures can be decoded: shape (N,), bool."""

    def is_readable(index: int) -> bool:
        try:
            decode(encoded, index, fit, viewing)
        except UnreadableImageError:
            return False
        return True

    readable = np.empty(len(encoded), np.bool_)
    with ThreadPoolExecutor() as pool:
        # Block by block: the pool keeps a record of everything that it is given at once.
        for ids in blocks(len(encoded), _BLOCK):
            readable[ids] = list(pool.map(is_readable, ids.tolist()))
    return readable
