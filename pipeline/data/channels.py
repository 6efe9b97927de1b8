"""Images with as many channels as a network takes: grey, or red, green and blue."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from foundation.errors import RecipeError
from pipeline.data import Dataset
from pipeline.data.framing import Framing
from pipeline.data.images import ArrayImages, Ids, Images, ImageSet, Labels, blocks

# Of a unit in 2**16, as Pillow weighs red, green and blue (ITU-R 601-2); a grey stays what it is.
_WEIGHTS = np.array([19595, 38470, 7471], np.uint32)
_HALF, _BITS = 1 << 15, 16


class Recoloured:
    """Another set's images with another number of channels."""

    def __init__(self, images: ImageSet, channels: int) -> None:
        self.images, self.channels = images, channels

    @property
    def labels(self) -> Labels:
        return self.images.labels

    def read(self, ids: Ids, framing: Framing | None = None) -> Images:
        return recoloured(self.images.read(ids, framing), self.channels)


def recoloured(pixels: Images, channels: int) -> Images:
    """Images (N, H, W, C) with 1 or 3 channels."""
    if pixels.shape[3] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=3)
    grey = (pixels.astype(np.uint32) @ _WEIGHTS + _HALF) >> _BITS
    return grey.astype(np.uint8)[..., None]


def with_channels(dataset: Dataset, channels: int | None) -> Dataset:
    """A dataset with images of so many channels; None leaves them.

    Raises:
        RecipeError: when images of neither 1 nor 3 channels are to be changed.
    """
    if channels is None:
        return dataset
    first = dataset.test if dataset.train is None else dataset.train
    assert first is not None, "a dataset has images"
    present = first.read(np.arange(1)).shape[3]
    if present == channels:
        return dataset
    if present not in {1, 3}:
        raise RecipeError(
            f"data.channels = {channels} is for images of 1 or 3 channels, but these have {present}"
        )
    colours = "grey, 1 channel" if channels == 1 else "red, green and blue, 3 channels"
    train, test, validation = (
        None if images is None else _recoloured_set(images, channels)
        for images in (dataset.train, dataset.test, dataset.validation)
    )
    remarks = (*dataset.remarks, f"images are read as {colours} (data.channels)")
    return replace(dataset, train=train, test=test, validation=validation, remarks=remarks)


def _recoloured_set(images: ImageSet, channels: int) -> ImageSet:
    if not isinstance(images, ArrayImages) or images.source is not None:
        return Recoloured(images, channels)
    parts = [recoloured(images.pixels[ids], channels) for ids in blocks(len(images.labels))]
    return ArrayImages(np.concatenate(parts), images.labels)
