"""tiny-imagenet: 200 classes of 64×64 photos, in the folders that it is published in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from foundation.documents import decoded
from foundation.errors import DataLayoutError, MissingFileError
from foundation.files import read_bounded, user_path
from pipeline.data import DATASETS, Dataset, load_sides
from pipeline.data.class_folders import class_names, list_classes
from pipeline.data.dataset_files import FILES, DatasetFiles
from pipeline.data.decoding import Split, dataset_of
from pipeline.data.kinds import a_few
from pipeline.data.listing import Listing
from pipeline.data.passed_over import PassedOver
from pipeline.data.walking import image_files
from pipeline.recipe.sections.data import DataRecipe

_SIZE = 64
_LARGEST_TABLE = 1 << 24
_FOLDER = "tiny-imagenet-200"


@DATASETS.register("tiny-imagenet")
def tiny_imagenet(argument: str, recipe: DataRecipe) -> Dataset:
    """Tiny ImageNet: 200 classes of 64×64 photos; tiny-imagenet:PATH reads PATH/tiny-imagenet-200.

    Without a path it is looked for in data/. The test images are those of val, for the labels
    of its own test images are not public.
    """
    root = user_path(argument or "data") / _FOLDER
    if not root.is_dir():
        raise MissingFileError(
            f"{root}: no such folder; get http://cs231n.stanford.edu/tiny-imagenet-200.zip and "
            f"unpack it in {root.parent}"
        )
    passed_over = PassedOver()
    classes = class_names(root / "train", inside="images", passed_over=passed_over)
    train = list_classes(root / "train", classes, inside="images", passed_over=passed_over)
    size = load_sides(recipe) or _SIZE
    test = _validation(root / "val", classes)
    dataset = dataset_of(train, test, classes, size, recipe)
    remarks = (*passed_over.remarks(), *_unnamed_remarks(root / "val", test), *dataset.remarks)
    return replace(dataset, remarks=remarks)


def _validation(folder: Path, classes: list[str]) -> Split:
    """The images of val, whose classes stand in a table of file name, class and box."""
    table = folder / "val_annotations.txt"
    if not table.is_file():
        raise DataLayoutError(f"{table}: not there; unpack tiny-imagenet-200.zip again")
    label_of = {name: label for label, name in enumerate(classes)}
    names: list[str] = []
    labels: list[int] = []
    try:
        lines = decoded(read_bounded(table, _LARGEST_TABLE)).splitlines()
    except ValueError as error:
        raise DataLayoutError(f"{table}: {error}") from error
    for number, line in enumerate(lines, start=1):
        name, _, rest = line.partition("\t")
        label = label_of.get(rest.partition("\t")[0])
        if label is None or Path(name).name != name:
            raise DataLayoutError(
                f"{table} line {number}: not an image's name and a class of train/; unpack "
                "tiny-imagenet-200.zip again"
            )
        names.append(f"images/{name}")
        labels.append(label)
    if not names:
        raise DataLayoutError(f"{table}: names no images; unpack tiny-imagenet-200.zip again")
    return Split(folder, Listing(folder, names), np.array(labels, np.int64))


def _unnamed_remarks(folder: Path, named: Split) -> list[str]:
    """A line where images of val do not stand in its table."""
    unnamed = set(image_files(folder / "images", PassedOver(), "val/images"))
    unnamed -= {Path(named.images.name(index)).name for index in range(len(named.images))}
    if not unnamed:
        return []
    return [
        f"{len(unnamed)} images of val/ stand in no line of val_annotations.txt and were left out "
        f"({a_few(sorted(unnamed))})"
    ]


@FILES.register("tiny-imagenet")
def files(argument: str) -> DatasetFiles:
    """The images of both splits, and the classes of those of val."""
    root = user_path(argument or "data") / _FOLDER
    return DatasetFiles(root, ("train", "val/images", "val/val_annotations.txt"))
