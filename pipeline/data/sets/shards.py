"""shards:PATH: images in tar files as webdataset has them, read without unpacking."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from foundation.errors import DataLayoutError, UsageError
from foundation.files import user_path
from pipeline.data import DATASETS, Dataset, load_sides
from pipeline.data.class_names import read_lines
from pipeline.data.class_order import class_order
from pipeline.data.dataset_files import FILES, DatasetFiles
from pipeline.data.decoding import Split, dataset_of
from pipeline.data.kinds import a_few
from pipeline.data.tars import TarImages, tar_images
from pipeline.data.walking import dataset_folder, is_there
from pipeline.recipe.sections import DataRecipe

_CLASSES = "classes.txt"
_MOST_NAMED = 5


@DATASETS.register("shards")
def shards(argument: str, recipe: DataRecipe) -> Dataset:
    """shards:PATH reads PATH/train-*.tar and PATH/test-*.tar of KEY.jpg|png and KEY.cls.

    The names of the classes are the lines of PATH/classes.txt, or else the labels themselves.
    """
    if not argument:
        raise UsageError("dataset shards needs a path: shards:PATH")
    root = dataset_folder(user_path(argument), "shards")
    train, test = _split(root, "train"), _split(root, "test")
    classes = _classes(root, train, recipe)
    _check_labels(root, test, classes)
    parts = [
        Split(root / f"{name}-*.tar", images, images.labels)
        for name, images in (("train", train), ("test", test))
    ]
    dataset = dataset_of(parts[0], parts[1], classes, load_sides(recipe), recipe)
    remarks = [f"{len(classes)} classes: {a_few(classes, _MOST_NAMED)}"]
    remarks += [*train.remarks, *test.remarks]
    absent = np.setdiff1d(np.arange(len(classes)), test.labels)
    if len(absent):
        names = a_few([classes[label] for label in absent])
        remarks.append(f"no test image of {names} ({len(absent)} of {len(classes)} classes)")
    return replace(dataset, remarks=(*remarks, *dataset.remarks))


def _split(root: Path, name: str) -> TarImages:
    files = sorted(path for path in root.glob(f"{name}-*.tar") if path.is_file())
    if not files:
        packed = sorted(path.name for path in root.glob(f"{name}-*.t*gz"))
        raise DataLayoutError(
            f"{root}: no {name}-*.tar; a dataset has train-*.tar and test-*.tar"
            + (f", and here are {a_few(packed)}: unpack them with gunzip" if packed else "")
            + (f"; folder:{root} reads class folders" if is_there(root / name) else "")
        )
    images = tar_images(files, root / f"{name}.index.npz")
    if not len(images):
        reasons = "; ".join(images.remarks)
        raise DataLayoutError(
            f"{root}/{name}-*.tar: hold no sample of KEY.jpg|png and KEY.cls, where KEY has no dot"
            + (f" ({reasons})" if reasons else "")
        )
    return images


def _classes(root: Path, train: TarImages, recipe: DataRecipe) -> list[str]:
    """Names of the classes; each must have an image to learn from."""
    path = root / _CLASSES
    if recipe.classes is not None:
        classes = class_order(recipe.classes).classes
        _check_labels(root, train, classes)
    elif path.is_file():
        classes = read_lines(path)
        _check_labels(root, train, classes)
    else:
        classes = [str(label) for label in np.unique(train.labels)]
        if classes != [str(label) for label in range(len(classes))]:
            raise DataLayoutError(
                f"{root}/train-*.tar: labels must be 0..{len(classes) - 1} without a gap, but "
                f"they go from {train.labels.min()} to {train.labels.max()}; number them anew "
                f"or write {path}"
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
