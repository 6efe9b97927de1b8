"""shards:PATH: images in tar files as webdataset has them, read without unpacking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
from pipeline.recipe.sections.data import DataRecipe

_SPLITS = ("train", "val", "test")
_CLASSES = "classes.txt"
_MOST_NAMED = 5


@DATASETS.register("shards")
def shards(argument: str, recipe: DataRecipe) -> Dataset:
    """shards:PATH reads PATH/train-*.tar, val-*.tar and test-*.tar of KEY.jpg|png and KEY.cls.

    The names of the classes are the lines of PATH/classes.txt, or else the labels themselves.
    """
    if not argument:
        raise UsageError("dataset shards needs a path: shards:PATH")
    root = dataset_folder(user_path(argument), "shards")
    splits = {name: _split(root, name) for name in _SPLITS if _shards_of(root, name)}
    if not splits:
        raise DataLayoutError(_no_shards_message(root))
    classes = _classes(root, splits, recipe)
    test = "test" if "test" in splits else "val"  # as of folders
    train_split, test_split, validation_split = (
        Split(root / f"{name}-*.tar", splits[name], splits[name].labels) if name in splits else None
        for name in ("train", test, "val" if test == "test" else "")
    )
    dataset = dataset_of(
        train_split,
        test_split,
        classes,
        load_sides(recipe),
        recipe,
        validation=validation_split,
    )
    remarks = [f"{len(classes)} classes: {a_few(classes, _MOST_NAMED)}"]
    remarks += [line for images in splits.values() for line in images.remarks]
    if "train" in splits and test in splits:
        remarks += _unseen_remarks(splits[test], classes)
    return replace(dataset, remarks=(*remarks, *dataset.remarks))


def _unseen_remarks(test: TarImages, classes: list[str]) -> Iterator[str]:
    """A line where classes have no test image."""
    absent = np.setdiff1d(np.arange(len(classes)), test.labels)
    if len(absent):
        names = a_few([classes[label] for label in absent])
        yield f"no test image of {names} ({len(absent)} of {len(classes)} classes)"


def _shards_of(root: Path, name: str) -> list[Path]:
    """The tar files of a split, sorted.

    Raises:
        DataLayoutError: when they are packed.
    """
    files = sorted(path for path in root.glob(f"{name}-*.tar") if path.is_file())
    packed = sorted(path.name for path in root.glob(f"{name}-*.t*gz"))
    if packed and not files:
        raise DataLayoutError(
            f"{root}: no {name}-*.tar, and here are {a_few(packed)}: unpack them with gunzip"
        )
    return files


def _no_shards_message(root: Path) -> str:
    folders = [name for name in _SPLITS if is_there(root / name)]
    hint = f"; folder:{root} reads class folders" if folders else ""
    return f"{root}: no train-*.tar; a dataset has train-*.tar and test-*.tar{hint}"


def _split(root: Path, name: str) -> TarImages:
    files = _shards_of(root, name)
    images = tar_images(files, root / f"{name}.index.npz")
    if not len(images):
        reasons = "; ".join(images.remarks)
        raise DataLayoutError(
            f"{root}/{name}-*.tar: hold no sample of KEY.jpg|png and KEY.cls, where KEY has no dot"
            + (f" ({reasons})" if reasons else "")
        )
    return images


def _classes(root: Path, splits: Mapping[str, TarImages], recipe: DataRecipe) -> list[str]:
    """Names of the classes; where there is something to learn from, each must have an image there,
    unless the recipe names them."""
    path = root / _CLASSES
    if recipe.classes is not None:
        classes = class_order(recipe.classes).classes
    elif path.is_file():
        classes = read_lines(path)
    else:
        classes = _numbered(root, splits)
    for images in splits.values():
        _check_labels(root, images, classes)
    train = splits.get("train")
    if train is not None and recipe.classes is None:
        for missing in np.setdiff1d(np.arange(len(classes)), train.labels).tolist():
            raise DataLayoutError(f"{root}/train-*.tar: no image of class {classes[missing]!r}")
    return classes


def _numbered(root: Path, splits: Mapping[str, TarImages]) -> list[str]:
    """The labels themselves: those to learn from, or else all that there are."""
    name, labels = next((name, images.labels) for name, images in splits.items())
    if name != "train":
        labels = np.concatenate([images.labels for images in splits.values()])
    classes = [str(label) for label in np.unique(labels)]
    if classes != [str(label) for label in range(len(classes))]:
        raise DataLayoutError(
            f"{root}/{name}-*.tar: labels must be 0..{len(classes) - 1} without a gap, but they go "
            f"from {labels.min()} to {labels.max()}; number them anew or write {root / _CLASSES}, "
            "or say which classes they count with data.classes"
        )
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
    tars = sorted(path.name for part in _SPLITS for path in root.glob(f"{part}-*.tar"))
    return DatasetFiles(root, (*tars, _CLASSES))
