"""Images in class folders: SPLIT/CLASS/*.jpg, and how a dataset is made of two such splits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from foundation.errors import DataLayoutError
from pipeline.data import Dataset
from pipeline.data.decoding import Split, dataset_of
from pipeline.data.listing import Listing
from pipeline.recipe import DataRecipe

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def load_class_folders(
    root: Path, recipe: DataRecipe, size: int | None, splits: tuple[str, str] = ("train", "test")
) -> Dataset:
    """The dataset in root/SPLIT/CLASS/*; classes are named by their folders.

    Args:
        root: folder of both splits.
        recipe: the data section.
        size: height and width of the images; None takes the shorter side of the first.
        splits: folders of the training and of the test split.

    Raises:
        DataLayoutError: when a split or a class is missing.
        UnreadableImageError: when an image cannot be decoded, and is not to be passed over.
    """
    train, test = splits
    classes = class_names(root / train, splits)
    if class_names(root / test, splits) != classes:
        raise DataLayoutError(
            f"{root}: {train}/ and {test}/ have different class folders; both must hold the same"
        )
    parts = [list_classes(root / split, classes) for split in splits]
    return dataset_of(parts[0], parts[1], classes, size, recipe)


def class_names(split: Path, splits: tuple[str, str], inside: str = "") -> list[str]:
    """Names of the class folders of a split, sorted.

    Args:
        split: folder of the class folders.
        splits: names of both splits, for messages.
        inside: folder within a class folder that holds the images.

    Raises:
        DataLayoutError: when there is no such split, fewer than two classes, or an empty one.
    """
    if not split.is_dir():
        raise DataLayoutError(
            f"{split}: no such folder; a dataset has {splits[0]}/ and {splits[1]}/"
        )
    classes = sorted(path.name for path in split.iterdir() if path.is_dir())
    if len(classes) < 2:
        raise DataLayoutError(f"{split}: {len(classes)} class folders found, at least 2 are needed")
    for name in classes:
        folder = split / name / inside
        if next(_image_files(folder), None) is None:
            raise DataLayoutError(
                f"{folder}: no images in this class folder; add some or remove it"
            )
    return classes


def list_classes(split: Path, classes: list[str], inside: str = "") -> Split:
    """All images of a split, class by class.

    Args:
        split: folder of the class folders.
        classes: their names; the order makes the labels.
        inside: folder within a class folder that holds the images.
    """
    counts: list[int] = []

    def names() -> Iterator[str]:
        for name in classes:
            files = sorted(_image_files(split / name / inside))
            counts.append(len(files))
            prefix = PurePosixPath(name, inside)
            yield from (f"{prefix}/{file}" for file in files)

    listing = Listing(split, names())
    return Split(split, listing, np.repeat(np.arange(len(classes)), counts))


def _image_files(folder: Path) -> Iterator[str]:
    """Names of the image files in a folder; none where there is no such folder."""
    if folder.is_dir():
        with os.scandir(folder) as entries:
            yield from (e.name for e in entries if Path(e.name).suffix.lower() in _SUFFIXES)
