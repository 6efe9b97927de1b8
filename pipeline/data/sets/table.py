"""table:PATH: images that a file names, each with its label: CSV, TSV or JSON lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from foundation.errors import CompressError, DataLayoutError, MissingFileError, UsageError
from foundation.files import user_path
from pipeline.data import DATASETS, Dataset, load_sides
from pipeline.data.class_order import class_order, is_number
from pipeline.data.dataset_files import FILES, DatasetFiles
from pipeline.data.decoding import Split, dataset_of
from pipeline.data.kinds import a_few, shown
from pipeline.data.layouts import Part
from pipeline.data.listing import Listing
from pipeline.data.several_labels import check_one_label_each
from pipeline.data.tables import Row, read_rows
from pipeline.recipe.sections.data import DataRecipe

_MOST_NAMED = 5


@DATASETS.register("table")
def table(argument: str, recipe: DataRecipe) -> Dataset:
    """table:PATH reads a .csv, .tsv or .jsonl of path,label or path,label,split; paths from there.

    Classes are the labels in their order: of text, or of numbers from 0 without a gap.
    """
    path = _path(argument)
    rows = _once(path, read_rows(path))
    if recipe.on_bad_image == "refuse":
        _check_there(path, rows)
    classes, label_of, remark = _classes(path, rows, recipe)
    train, validation, test = (
        _split(path, [row for row in rows if (row.split or "train") == part], label_of)
        for part in ("train", "validation", "test")
    )
    if test is None:  # as of folders
        validation, test = None, validation
    if recipe.classes is None:
        _check_learnt(path, train, test, classes)
    dataset = dataset_of(train, test, classes, load_sides(recipe), recipe, validation=validation)
    return replace(dataset, remarks=(remark, *_test_remarks(rows), *dataset.remarks))


@FILES.register("table")
def files(argument: str) -> DatasetFiles:
    """The table, and the images that it names."""
    path = user_path(argument)
    try:
        images = {row.path for row in read_rows(path)}
    except CompressError:  # who reads the images says so
        images = set()
    return DatasetFiles(path.parent, (path.name, *sorted(images)))


def _path(argument: str) -> Path:
    if not argument:
        raise UsageError("dataset table needs a path: table:PATH")
    path = user_path(argument)
    if path.is_dir():
        raise MissingFileError(
            f"{shown(path)}: a folder; name the table in it, or folder:{shown(path)} reads images "
            "in class folders"
        )
    if not path.is_file():
        raise MissingFileError(f"{shown(path)}: no such table; check the path")
    return path


def _once(path: Path, rows: Sequence[Row]) -> list[Row]:
    """The rows without those that say the same again.

    Raises:
        DataLayoutError: when an image has two labels, or is in two splits.
    """
    first: dict[str, Row] = {}
    for row in rows:
        earlier = first.setdefault(row.path, row)
        for what, before, here in (
            ("labels", earlier.label, row.label),
            ("splits", earlier.split, row.split),
        ):
            if before != here:
                raise DataLayoutError(
                    f"{shown(path)} line {row.line}: {shown(row.path)} has two {what}, {here!r} "
                    f"here and {before!r} in line {earlier.line}; take one of the lines out"
                )
    return list(first.values())


def _check_there(path: Path, rows: Sequence[Row]) -> None:
    missing = [row for row in rows if not (path.parent / row.path).exists()]
    if missing:
        row = missing[0]
        hint = "; write / between folders" if "\\" in row.path else ""
        raise MissingFileError(
            f"{shown(path)} line {row.line}: no file {shown(path.parent / row.path)} ("
            f"{len(missing)} of {len(rows)} images are not there{hint}); paths are taken from the "
            'table\'s folder; correct them, or set on_bad_image = "skip" in [data]'
        )


def _classes(
    path: Path, rows: Sequence[Row], recipe: DataRecipe
) -> tuple[list[str], dict[str, int], str]:
    """The classes in their order, the number of each label, and a line that tells of it."""
    names = sorted({row.label for row in rows})
    check_one_label_each(names, shown(path))
    if recipe.classes is not None:
        order = class_order(recipe.classes)
        labels = order.labels_of(names, shown(path))
        numbers = dict(zip(names, labels, strict=True))
        return order.classes, numbers, order.remark([np.array(labels, np.int64)])
    if all(map(is_number, names)):
        names = _numbered(path, names)
    if len(names) < 2:
        raise DataLayoutError(
            f"{shown(path)}: all images are of class {names[0]!r}, and at least 2 are needed"
        )
    remark = f"{len(names)} classes, named by their labels: {a_few(names, _MOST_NAMED)}"
    return names, {name: number for number, name in enumerate(names)}, remark


def _numbered(path: Path, names: Sequence[str]) -> list[str]:
    """Labels that are numbers, in their order; they are places of the logits themselves."""
    by_value = sorted(names, key=int)
    if [int(name) for name in by_value] != list(range(len(by_value))):
        raise DataLayoutError(
            f"{shown(path)}: labels are numbers from {by_value[0]} to {by_value[-1]}, but not "
            f"each from 0 to {len(by_value) - 1}; number them so, or say with data.classes which "
            "classes they count"
        )
    return by_value


def _split(path: Path, rows: Sequence[Row], label_of: dict[str, int]) -> Split | None:
    """A part of the images; None where no row is of it."""
    if not rows:
        return None
    listing = Listing(path.parent, (row.path for row in rows))
    return Split(path, listing, np.array([label_of[row.label] for row in rows], np.int64))


def _check_learnt(
    path: Path, train: Split | None, test: Split | None, classes: Sequence[str]
) -> None:
    """A class of which nothing is learnt cannot be told in the test."""
    if train is None or test is None:
        return
    unlearnt = [classes[label] for label in np.setdiff1d(test.labels, train.labels)]
    if unlearnt:
        raise DataLayoutError(
            f"{shown(path)}: no training image of {a_few(unlearnt, _MOST_NAMED)}, of which there "
            "are test images; add some, or take the class out"
        )


def _test_remarks(rows: Sequence[Row]) -> Iterator[str]:
    """A line where the validation rows are the test images."""
    parts: set[Part | None] = {row.split for row in rows}
    if "validation" in parts and "test" not in parts:
        yield "the validation images are the test images, for no line is of the test split"
