"""How a folder of images is laid out: in splits, in class folders alone, or without labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from foundation.errors import DataLayoutError
from pipeline.data.kinds import a_few, is_hidden, is_image, shown
from pipeline.data.passed_over import PassedOver
from pipeline.data.walking import entries, image_files, is_folder, is_there

Part = Literal["train", "validation", "test"]

_NAMES: dict[Part, tuple[str, ...]] = {
    "train": ("train", "training", "trn"),
    "validation": ("val", "valid", "validation", "dev", "eval"),
    "test": ("test", "testing", "tst"),
}
"""What the folder of a split may be called, in small letters."""

_PARTS = {name: part for part, names in _NAMES.items() for name in names}

_SPLITS = "a dataset has train/ and test/ with a folder a class, or these folders alone"


@dataclass(frozen=True)
class Layout:
    """In which folders the parts of a dataset lie.

    Attributes:
        train: class folders to learn from; "" where they lie in the dataset's own folder, and None
            where there are none.
        validation: those held out for every choice; None where they are cut from `train`.
        test: those for the final word; None where they are cut from `train`.
        is_flat: images lie in the dataset's own folder, without labels.
    """

    train: str | None = None
    validation: str | None = None
    test: str | None = None
    is_flat: bool = False

    @property
    def folders(self) -> list[str]:
        """The folders of all parts."""
        parts = (self.train, self.validation, self.test)
        return [part for part in parts if part is not None]


def layout_of(root: Path) -> Layout:
    """How a folder of images is laid out.

    Folders are splits by their names, in any case, where they hold class folders. A lone val/ or
    valid/ beside train/ is the test split, as ImageNet has it.

    Args:
        root: the folder, which is there.

    Raises:
        DataLayoutError: when it cannot be told.
    """
    folders = _folders(root)
    parts = _parts(root, folders)
    if parts:
        _check_no_classes_beside(root, folders, parts)
        validation, test = parts.get("validation"), parts.get("test")
        if test is None:
            validation, test = None, validation
        return Layout(parts.get("train"), validation, test)
    for name in folders:
        if "train" in _parts(root / name, _folders(root / name)):
            raise DataLayoutError(
                f"{shown(root)}: holds no split or class; they are in {shown(root / name)}: name "
                "that folder"
            )
    if any(_holds_images(root / name) for name in folders):
        _check_no_split(root, folders)
        return Layout(train="")
    if any(_images_at(root)):
        return Layout(is_flat=True)
    raise DataLayoutError(f"{shown(root)}: {_nothing_there(root, folders)}")


def part_named(name: str) -> Part | None:
    """Which part of a dataset a name stands for: "Valid" for validation; None for no part."""
    return _PARTS.get(name.casefold())


def layout_remarks(root: Path, layout: Layout) -> Iterator[str]:
    """What somebody may not expect of a layout: a validation split that is the test split, and
    folders beside the splits, which are not read."""
    if layout.is_flat or layout.train == "":
        return
    if layout.test is not None and part_named(layout.test) == "validation":
        cut = f"; validation images are cut from {layout.train}/" if layout.train else ""
        yield (
            f"{layout.test}/ holds the test images, for there is no test/ with class folders{cut}"
        )
    names = [name for name in _folders(root) if name not in layout.folders]
    if names:
        read = " and ".join(f"{name}/" for name in layout.folders)
        verb = "are" if len(layout.folders) > 1 else "is"
        yield f"of {shown(root)} only {read} {verb} read, not {a_few(names)}"


def _parts(root: Path, folders: Sequence[str]) -> dict[Part, str]:
    """The folders of the splits, by what they are for."""
    parts: dict[Part, str] = {}
    for name in folders:
        part = part_named(name)
        if part is None or not _folders(root / name):
            continue
        if part in parts:
            raise DataLayoutError(
                f"{shown(root)}: {parts[part]}/ and {name}/ may both be its {part} images; move "
                "one of them away"
            )
        parts[part] = name
    return parts


def _check_no_classes_beside(root: Path, folders: Sequence[str], parts: dict[Part, str]) -> None:
    """Without training images, other folders may be classes, and what looks like a split, too."""
    if "train" in parts:
        return
    others = [
        name
        for name in folders
        if name not in parts.values() and part_named(name) is None and any(_images_at(root / name))
    ]
    if others:
        split = next(iter(parts.values()))
        raise DataLayoutError(
            f"{shown(root)}: {split}/ has folders in it as a split has, and {a_few(others)} hold "
            f"images as classes do; name the split itself ({shown(root / split)}), or put the "
            "classes into a folder of their own"
        )


def _check_no_split(root: Path, folders: Sequence[str]) -> None:
    """A split's images in no class folders would be taken for a class of that name."""
    splits = [name for name in folders if part_named(name) and any(_images_at(root / name))]
    if len(splits) == len(folders):
        raise DataLayoutError(
            f"{shown(root / splits[0])}: 0 class folders found, and images without a class; put "
            "them into a folder a class, or name this very folder for images without labels"
        )


def _nothing_there(root: Path, folders: Sequence[str]) -> str:
    """What to say of a folder without images."""
    if next(root.glob("*.tar"), None) is not None:
        return f"no class folders; here are tar files: shards:{shown(root)} reads them"
    splits = [name for name in folders if part_named(name)]
    if splits:
        return f"{splits[0]}/ is there, but 0 class folders found in it; {_SPLITS}"
    here = f"; here are {a_few(folders)}" if folders else ""
    return f"no images in it{here}; {_SPLITS}"


def _folders(folder: Path) -> list[str]:
    """Names of the folders within, sorted; hidden ones are left out."""
    if not is_there(folder):
        return []
    return sorted(
        entry.name for entry in entries(folder) if is_folder(entry) and not is_hidden(entry.name)
    )


def _images_at(folder: Path) -> Iterator[str]:
    """Names of the images that lie in a folder itself."""
    return (
        entry.name for entry in entries(folder) if is_image(entry.name) and not is_folder(entry)
    )


def _holds_images(folder: Path) -> bool:
    """Whether an image lies in a folder or in one within it."""
    return any(_images_at(folder)) or bool(image_files(folder, PassedOver(), folder.name))
