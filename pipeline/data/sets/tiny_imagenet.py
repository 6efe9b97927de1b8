"""tiny-imagenet: 200 classes of 64×64 photos, in the folders that it is published in."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from foundation.errors import DataLayoutError, MissingFileError
from foundation.files import user_path
from pipeline.data import DATASETS, Dataset, load_size
from pipeline.data.class_folders import class_names, list_classes
from pipeline.data.decoding import Split, dataset_of
from pipeline.data.fingerprint import FILES, DatasetFiles
from pipeline.data.listing import Listing
from pipeline.recipe import DataRecipe

_SIZE = 64
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
    classes = class_names(root / "train", ("train", "val"), inside="images")
    train = list_classes(root / "train", classes, inside="images")
    size = load_size(recipe) or _SIZE
    return dataset_of(train, _validation(root / "val", classes), classes, size, recipe)


def _validation(folder: Path, classes: list[str]) -> Split:
    """The images of val, whose classes stand in a table of file name, class and box."""
    table = folder / "val_annotations.txt"
    if not table.is_file():
        raise DataLayoutError(f"{table}: not there; unpack tiny-imagenet-200.zip again")
    label_of = {name: label for label, name in enumerate(classes)}
    names: list[str] = []
    labels: list[int] = []
    lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
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


@FILES.register("tiny-imagenet")
def files(argument: str) -> DatasetFiles:
    """The images of both splits, and the classes of those of val."""
    root = user_path(argument or "data") / _FOLDER
    return DatasetFiles(root, ("train", "val/images", "val/val_annotations.txt"))
