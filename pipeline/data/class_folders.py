"""Images in class folders: SPLIT/CLASS/*.jpg, and how a dataset is made of such splits."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from foundation.errors import DataLayoutError
from pipeline.data import Dataset
from pipeline.data.class_order import class_order, is_number
from pipeline.data.decoding import Split, dataset_of
from pipeline.data.images import Labels
from pipeline.data.kinds import a_few, is_image, shown
from pipeline.data.layouts import Layout, layout_remarks
from pipeline.data.listing import Listing
from pipeline.data.passed_over import PassedOver
from pipeline.data.walking import class_folders, entries, image_files, is_there
from pipeline.recipe.sections.data import DataRecipe

_MOST_NAMED = 5


def load_class_folders(
    root: Path,
    recipe: DataRecipe,
    size: int | tuple[int, int] | None,
    layout: Layout = Layout("train", None, "test"),  # noqa: B008 - it never changes
) -> Dataset:
    """The dataset in root/SPLIT/CLASS/*, or root/CLASS/*; classes are named by their folders, or as
    the recipe has it.

    Args:
        root: folder of the dataset.
        recipe: the data section.
        size: height and width of the images; None decides it by looking.
        layout: in which folders the splits are.

    Raises:
        DataLayoutError: when a split or a class is missing, or is none of those of the recipe.
        UnreadableImageError: when an image cannot be decoded, and is not to be passed over.
    """
    passed_over = PassedOver()
    folders = _class_folders(root, layout, passed_over, at_least=1 if recipe.classes else 2)
    classes, labels, remark = _named_classes(root, folders, recipe)
    parts: dict[str, Split] = {}
    for part, names in folders.items():
        listed = list_classes(root / part, names, passed_over=passed_over)
        parts[part] = replace(listed, labels=labels[part][listed.labels])
    remarks = [
        remark,
        *([] if recipe.classes else _own_order_remarks(classes)),
        *passed_over.remarks(),
        *layout_remarks(root, layout),
    ]
    train, validation, test = (
        None if part is None else parts[part]
        for part in (layout.train, layout.validation, layout.test)
    )
    dataset = dataset_of(train, test, classes, size, recipe, validation=validation)
    return replace(dataset, remarks=(*remarks, *dataset.remarks))


def _class_folders(
    root: Path, layout: Layout, passed_over: PassedOver, at_least: int
) -> dict[str, list[str]]:
    """Names of the class folders by the folder of their split."""
    return {
        part: class_names(root / part, passed_over=passed_over, at_least=at_least)
        for part in layout.folders
    }


def _named_classes(
    root: Path, folders: Mapping[str, list[str]], recipe: DataRecipe
) -> tuple[list[str], dict[str, Labels], str]:
    """The classes in their order, by each split's folder the label of each class folder, and a line
    that tells of it."""
    if recipe.classes is not None:
        order = class_order(recipe.classes)
        labels = {
            part: np.array(order.labels_of(names, shown(root / part)), np.int64)
            for part, names in folders.items()
        }
        return order.classes, labels, order.remark(labels.values())
    (first, classes), *others = folders.items()
    for part, names in others:
        if names != classes:
            raise DataLayoutError(_classes_differ_message(root, (first, part), classes, names))
    remark = f"{len(classes)} classes, named by their folders: {a_few(classes, _MOST_NAMED)}"
    return classes, {part: np.arange(len(classes)) for part in folders}, remark


def class_names(
    split: Path, inside: str = "", passed_over: PassedOver | None = None, at_least: int = 2
) -> list[str]:
    """Names of the class folders of a split, sorted.

    Args:
        split: folder of the class folders.
        inside: folder within a class folder that holds the images.
        passed_over: takes note of what is no class folder.
        at_least: so many there must be.

    Raises:
        DataLayoutError: when there is no such split, fewer classes, an empty one, or one whose name
            is no text.
    """
    if not is_there(split):
        raise DataLayoutError(f"{shown(split)}: no such folder; the dataset has no {split.name}/")
    classes = class_folders(split, passed_over or PassedOver())
    for name in classes:
        _check_name(split, name)
    if len(classes) < at_least:
        raise DataLayoutError(
            f"{shown(split)}: {len(classes)} class folders found, at least {at_least} are needed"
            + "".join(f"; for images without labels name {shown(split / name)}" for name in classes)
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
    if not name.isprintable():
        raise DataLayoutError(
            f"{shown(split / name)!r}: the name of this class folder cannot be printed, and a "
            "class must be named in the model's files; rename it"
        )


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


def _own_order_remarks(classes: Sequence[str]) -> Iterator[str]:
    """What somebody may not expect of classes that are named and sorted by their folders."""
    yield from _near_twin_remarks(classes)
    if not all(map(is_number, classes)):
        return
    by_value = sorted(classes, key=int)
    pairs = enumerate(zip(classes, by_value, strict=True))
    moved = next((place for place, (name, other) in pairs if name != other), None)
    if moved is not None:
        yield (
            "class folders are numbers, and stand in the order of text, as torchvision's "
            f"ImageFolder has them: class {moved} is {classes[moved]!r}, not {by_value[moved]!r}; "
            "data.classes sets another order"
        )


def _near_twin_remarks(classes: Sequence[str]) -> Iterator[str]:
    """Classes of one split that look like one class."""
    first: dict[str, str] = {}
    for name in classes:
        earlier = first.setdefault(_plain_name(name), name)
        if earlier != name:
            yield (
                f"classes {earlier!r} and {name!r} are two, though their names are nearly the same"
            )
