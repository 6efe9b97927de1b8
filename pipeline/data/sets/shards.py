"""shards:PATH: images in tar files as webdataset has them, read without unpacking."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from foundation.errors import DataLayoutError, MissingFileError, UsageError
from foundation.files import user_path
from pipeline.data import DATASETS, Dataset, load_size
from pipeline.data.decoding import Split, dataset_of
from pipeline.data.fingerprint import FILES, DatasetFiles
from pipeline.data.tars import TarImages, tar_images
from pipeline.recipe import DataRecipe

_CLASSES = "classes.txt"


@DATASETS.register("shards")
def shards(argument: str, recipe: DataRecipe) -> Dataset:
    """shards:PATH reads PATH/train-*.tar and PATH/test-*.tar of KEY.jpg|png and KEY.cls.

    The names of the classes are the lines of PATH/classes.txt, or else the labels themselves.
    """
    if not argument:
        raise UsageError("dataset shards needs a path: shards:PATH")
    root = user_path(argument)
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such folder of shards")
    train, test = _split(root, "train"), _split(root, "test")
    classes = _classes(root, train)
    _check_labels(root, test, classes)
    parts = [
        Split(root / f"{name}-*.tar", images, images.labels)
        for name, images in (("train", train), ("test", test))
    ]
    return dataset_of(parts[0], parts[1], classes, load_size(recipe), recipe)


def _split(root: Path, name: str) -> TarImages:
    files = sorted(root.glob(f"{name}-*.tar"))
    if not files:
        raise DataLayoutError(f"{root}: no {name}-*.tar; a dataset has train-*.tar and test-*.tar")
    images = tar_images(files, root / f"{name}.index.npz")
    if not len(images):
        raise DataLayoutError(f"{root}/{name}-*.tar: hold no sample of KEY.jpg|png and KEY.cls")
    return images


def _classes(root: Path, train: TarImages) -> list[str]:
    """Names of the classes; each must have an image to learn from."""
    path = root / _CLASSES
    if path.is_file():
        classes = path.read_text(encoding="utf-8").split("\n")
        classes = [name.strip() for name in classes if name.strip()]
        _check_labels(root, train, classes)
    else:
        classes = [str(label) for label in np.unique(train.labels)]
        if classes != [str(label) for label in range(len(classes))]:
            raise DataLayoutError(
                f"{root}/train-*.tar: labels must be 0..{len(classes) - 1} without a gap, but "
                f"the largest is {train.labels.max()}; number them anew or write {path}"
            )
    for missing in np.setdiff1d(np.arange(len(classes)), train.labels).tolist():
        raise DataLayoutError(f"{root}/train-*.tar: no image of class {classes[missing]!r}")
    return classes


def _check_labels(root: Path, part: TarImages, classes: list[str]) -> None:
    beyond = np.flatnonzero(part.labels >= len(classes))
    if len(beyond):
        index = int(beyond[0])
        raise DataLayoutError(
            f"{part.name(index)}.cls: label {part.labels[index]}, but there are only "
            f"{len(classes)} classes; correct it or {root / _CLASSES}"
        )


@FILES.register("shards")
def files(argument: str) -> DatasetFiles:
    """The tar files, and the names of the classes."""
    root = user_path(argument)
    tars = sorted(path.name for part in ("train", "test") for path in root.glob(f"{part}-*.tar"))
    return DatasetFiles(root, (*tars, _CLASSES))
