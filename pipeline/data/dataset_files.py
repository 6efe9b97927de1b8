"""Which files a dataset is made of: where they lie, and a walk over them in a steady order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from foundation.registry import Registry
from pipeline.data.kinds import is_hidden, is_image
from pipeline.data.walking import is_folder
from pipeline.recipe.sections.data import DataRecipe


@dataclass(frozen=True)
class DatasetFiles:
    """Where the files of a dataset lie.

    Attributes:
        root: what their places are relative to.
        folders: folders in it that are gone through, or files in it.
        is_read: whether a file of this name is one that the dataset reads.
    """

    root: Path
    folders: Sequence[str] = ("",)
    is_read: Callable[[str], bool] = is_image


FILES: Registry[Callable[[str], DatasetFiles]] = Registry("dataset's files", "pipeline.data.sets")
"""By a dataset's name: from what stands behind the colon to the files. A dataset that is not here
is taken to read all of the folder or file that it names, if it names one."""


def files_of(name: str) -> DatasetFiles | None:
    """Where the files lie of a dataset that a recipe names; None where it does not tell.

    Raises:
        MissingFileError: when its path begins with the home of somebody whom nobody knows.
    """
    kind, _, argument = name.partition(":")
    declared = FILES.find(kind)
    if declared is not None:
        return declared(argument)
    path = Path(argument)
    if not argument or not path.exists():
        return None
    if path.is_file():
        return DatasetFiles(path.parent, (path.name,), is_anything)
    return DatasetFiles(path, is_read=is_anything)


def all_files_of(data: DataRecipe) -> DatasetFiles | None:
    """The same of a whole data section: of further images without labels too.

    Errors as `files_of`.
    """
    files = files_of(data.name)
    if files is None:
        return None
    if data.unlabelled:  # whatever its folders are called
        return DatasetFiles(files.root)
    if data.unlabelled_from is None:
        return files
    further, labelled = files_of(data.unlabelled_from), files
    assert further is not None, "it is a folder"
    root = Path(os.path.commonpath([labelled.root.absolute(), further.root.absolute()]))
    own = [str((labelled.root / name).absolute().relative_to(root)) for name in labelled.folders]
    beside = str(further.root.absolute().relative_to(root))

    def is_read(name: str) -> bool:
        return labelled.is_read(name) or is_image(name)

    return DatasetFiles(root, [*own, beside], is_read)


def is_anything(_name: str) -> bool:
    """Every file is read."""
    return True


def walk_files(files: DatasetFiles) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """Place and stat of each file, in an order that the names alone decide."""
    known: set[tuple[int, int]] = set()
    for folder in files.folders:
        if (files.root / folder).is_file():
            yield folder, _row((files.root / folder).stat())
            continue
        pending = [folder]
        while pending:
            inner = pending.pop()
            below = []
            for entry in _entries(files.root / inner):
                name = f"{inner}/{entry.name}" if inner else entry.name
                if is_hidden(entry.name):
                    continue
                if is_folder(entry):
                    below.append(name)
                elif files.is_read(entry.name):
                    yield name, _stat_of(entry)
            pending += [name for name in reversed(below) if _is_new(files.root / name, known)]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:  # not there or closed to us: who reads the images says so
        return []


def _is_new(folder: Path, known: set[tuple[int, int]]) -> bool:
    """Whether a folder was not gone through yet: a link may lead back."""
    stat = folder.stat()
    identity = stat.st_dev, stat.st_ino
    is_new = identity not in known
    known.add(identity)
    return is_new


def _stat_of(entry: os.DirEntry[str]) -> tuple[int, int, int, int]:
    try:
        return _row(entry.stat())
    except OSError:  # a link that leads nowhere
        return -1, 0, 0, 0


def _row(stat: os.stat_result) -> tuple[int, int, int, int]:
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino % (1 << 63)
