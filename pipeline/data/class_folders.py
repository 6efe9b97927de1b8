"""Images in class folders: SPLIT/CLASS/*.jpg, and how a dataset is made of two such splits."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from foundation.errors import DataLayoutError
from pipeline.data import Dataset
from pipeline.data.decoding import Split, dataset_of
from pipeline.data.kinds import a_few, is_hidden, is_image, shown
from pipeline.data.listing import Listing
from pipeline.data.passed_over import PassedOver
from pipeline.data.walking import class_folders, entries, image_files, is_folder, is_there
from pipeline.recipe.sections import DataRecipe

_OTHER_NAMES = {
    "train": ("training", "Train", "TRAIN", "Training", "trn"),
    "test": ("val", "valid", "validation", "testing", "Test", "TEST", "Val", "eval", "dev"),
    "val": ("valid", "validation", "Val"),
}
_MOST_NAMED = 5


def load_class_folders(
    root: Path,
    recipe: DataRecipe,
    size: int | tuple[int, int] | None,
    splits: tuple[str, str] = ("train", "test"),
) -> Dataset:
    """The dataset in root/SPLIT/CLASS/*; classes are named by their folders.

    Args:
        root: folder of both splits.
        recipe: the data section.
        size: height and width of the images; None decides it by looking.
        splits: folders of the training and of the test split.

    Raises:
        DataLayoutError: when a split or a class is missing.
        UnreadableImageError: when an image cannot be decoded, and is not to be passed over.
    """
    passed_over = PassedOver()
    classes, others = (
        class_names(root / split, splits, passed_over=passed_over) for split in splits
    )
    if others != classes:
        raise DataLayoutError(_classes_differ_message(root, splits, classes, others))
    train, test = (list_classes(root / split, classes, passed_over=passed_over) for split in splits)
    remarks = [
        f"{len(classes)} classes, named by their folders: {a_few(classes, _MOST_NAMED)}",
        *_near_twin_remarks(classes),
        *passed_over.remarks(),
        *_unread_folder_remarks(root, splits),
    ]
    dataset = dataset_of(train, test, classes, size, recipe)
    return replace(dataset, remarks=(*remarks, *dataset.remarks))


def class_names(
    split: Path, splits: tuple[str, str], inside: str = "", passed_over: PassedOver | None = None
) -> list[str]:
    """Names of the class folders of a split, sorted.

    Args:
        split: folder of the class folders.
        splits: names of both splits, for messages.
        inside: folder within a class folder that holds the images.
        passed_over: takes note of what is no class folder.

    Raises:
        DataLayoutError: when there is no such split, fewer than two classes, an empty one, or one
            whose name is no text.
    """
    if not is_there(split):
        raise DataLayoutError(
            f"{shown(split)}: no such folder; a dataset has {splits[0]}/ and {splits[1]}/"
            f"{_missing_split_hint(split, splits)}"
        )
    classes = class_folders(split, passed_over or PassedOver())
    for name in classes:
        _check_name(split, name)
    if len(classes) < 2:
        raise DataLayoutError(
            f"{shown(split)}: {len(classes)} class folders found, at least 2 are needed"
        )
    for name in classes:
        _check_images(split / name / inside)
    return classes


def list_classes(
    split: Path, classes: list[str], inside: str = "", passed_over: PassedOver | None = None
) -> Split:
    """All images of a split, class by class.

    Args:
        split: folder of the class folders.
        classes: their names; the order makes the labels.
        inside: folder within a class folder that holds the images.
        passed_over: takes note of what is no image.
    """
    counts: list[int] = []
    note = passed_over or PassedOver()

    def names() -> Iterator[str]:
        for name in classes:
            prefix = PurePosixPath(name, inside)
            files = image_files(split / prefix, note, f"{split.name}/{prefix}")
            counts.append(len(files))
            for file in files:
                if "/" in file:
                    note.add("nested picture", f"{split.name}/{prefix}/{file}")
                yield f"{prefix}/{file}"

    listing = Listing(split, names())
    return Split(split, listing, np.repeat(np.arange(len(classes)), counts))


def _check_name(split: Path, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataLayoutError(
            f"{shown(split / name)}: the name of this class folder is not UTF-8, and a class must "
            "be named in the model's files; rename it"
        ) from None


def _check_images(folder: Path) -> None:
    """Make sure that there is an image; only where there is none at once is all gone through."""
    if is_there(folder) and any(is_image(entry.name) for entry in entries(folder)):
        return
    passed_over = PassedOver()
    if not image_files(folder, passed_over, folder.name):
        remarks = "; ".join(passed_over.remarks())
        raise DataLayoutError(
            f"{shown(folder)}: no images in this class folder; add some or remove it"
            f"{f' ({remarks})' if remarks else ''}"
        )


def _classes_differ_message(
    root: Path, splits: tuple[str, str], train: list[str], test: list[str]
) -> str:
    """How the classes of two splits differ, and which were perhaps meant to be one."""
    only = [sorted(set(train) - set(test)), sorted(set(test) - set(train))]
    parts = [
        f"only in {split}/: {a_few(names, _MOST_NAMED)}"
        for split, names in zip(splits, only, strict=True)
        if names
    ]
    same = {_plain_name(name): name for name in only[1]}
    pairs = [(name, same[_plain_name(name)]) for name in only[0] if _plain_name(name) in same]
    alike = "".join(
        f"; {train_name!r} and {test_name!r} differ in upper and lower case, blanks or accents "
        "alone"
        for train_name, test_name in pairs[:1]
    )
    return (
        f"{shown(root)}: {splits[0]}/ and {splits[1]}/ have different class folders "
        f"({'; '.join(parts)}{alike}); both must hold the same"
    )


def _plain_name(name: str) -> str:
    """A name without what is easily overlooked."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _near_twin_remarks(classes: list[str]) -> Iterator[str]:
    """Classes of one split that look like one class."""
    first: dict[str, str] = {}
    for name in classes:
        earlier = first.setdefault(_plain_name(name), name)
        if earlier != name:
            yield (
                f"classes {earlier!r} and {name!r} are two, though their names are nearly the same"
            )


def _unread_folder_remarks(root: Path, splits: tuple[str, str]) -> Iterator[str]:
    """Folders beside the splits, which somebody may think are read."""
    names = sorted(
        entry.name
        for entry in entries(root)
        if is_folder(entry) and entry.name not in splits and not is_hidden(entry.name)
    )
    if names:
        yield (
            f"of {shown(root)} only {splits[0]}/ and {splits[1]}/ are read, not {a_few(names)}; "
            f"validation images are cut from {splits[0]}/"
        )


def _missing_split_hint(split: Path, splits: tuple[str, str]) -> str:
    """What is there in place of a missing split."""
    root = split.parent
    if not is_there(root):
        return ""
    folders = sorted(
        entry.name for entry in entries(root) if is_folder(entry) and not is_hidden(entry.name)
    )
    for name in _OTHER_NAMES.get(split.name, ()):
        if name in folders and name not in splits:
            return f"; there is {name}/: rename it to {split.name}/"
    for name in folders:
        if is_there(root / name / splits[0]):
            return f"; they are in {shown(root / name)}: name that folder"
    if next(root.glob("*.tar"), None) is not None:
        return f"; here are tar files: shards:{shown(root)} reads them"
    if folders and not set(folders) & set(splits):
        return (
            f"; here are {a_few(folders)}: if these are the classes, move them into {splits[0]}/, "
            f"and some images of each into {splits[1]}/"
        )
    return ""
