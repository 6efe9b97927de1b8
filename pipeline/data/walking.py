"""The image files of a class folder, found by one walk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from foundation.errors import DataLayoutError, MissingFileError
from pipeline.data.contents import START
from pipeline.data.kinds import is_hidden, is_image, shown
from pipeline.data.passed_over import PassedOver

Identity = tuple[int, int]


def image_files(folder: Path, passed_over: PassedOver, called: str) -> list[str]:
    """Paths of the images in a folder and in folders within it, relative to it, sorted.

    Links are followed, but not to a folder that was read already or that holds this one.

    Args:
        folder: where they lie; no images where there is no such folder.
        passed_over: takes note of what is no image.
        called: what the folder's name is there.

    Raises:
        DataLayoutError: when a folder may not be read.
    """
    if not is_there(folder):
        return []
    known = {_identity(above) for path in (folder, folder.resolve()) for above in path.parents}
    known.add(_identity(folder))
    images: list[str] = []
    pending = [""]
    while pending:
        inner = pending.pop()
        for entry in entries(folder / inner):
            name = inner + entry.name
            if is_folder(entry):
                if _is_new(entry, known, passed_over, f"{called}/{name}"):
                    pending.append(f"{name}/")
            elif is_image(entry.name) and not _is_special(entry):
                # A link that leads nowhere is an image that cannot be read, and that is said.
                images.append(name)
            else:
                _note_passed_over(entry, passed_over, f"{called}/{name}")
    return sorted(images)


def dataset_folder(path: Path, contents: str) -> Path:
    """The folder that a dataset lies in.

    Args:
        path: as a person named it.
        contents: what should lie in it, for messages.

    Raises:
        MissingFileError: when there is no such folder.
        DataLayoutError: when it may not be looked at.
    """
    if is_there(path):
        return path
    if path.exists():
        packed = path.suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z")
        advice = (
            "unpack it, and name the folder" if packed else f"name the folder {contents} lie in"
        )
        raise MissingFileError(f"{shown(path)}: a file; {advice}")
    raise MissingFileError(f"{shown(path)}: no such folder of {contents}")


def is_there(folder: Path) -> bool:
    """Whether there is such a folder.

    Raises:
        DataLayoutError: when that cannot be known.
    """
    try:
        return folder.is_dir()
    except OSError as error:
        raise DataLayoutError(
            f"{shown(folder)}: cannot be looked at ({error.strerror}); check the path and who may "
            "read it"
        ) from error


def entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder.

    Raises:
        DataLayoutError: when it may not be read.
    """
    try:
        with os.scandir(folder) as scan:
            yield from scan
    except OSError as error:
        raise DataLayoutError(
            f"{shown(folder)}: this folder cannot be read ({error.strerror}); make it readable "
            "for the user who runs this"
        ) from error


def class_folders(split: Path, passed_over: PassedOver) -> list[str]:
    """Names of the class folders of a split, sorted; what else lies there is noted."""
    names = []
    for entry in entries(split):
        if not is_folder(entry):
            place = f"{split.name}/{entry.name}"
            if is_image(entry.name):
                passed_over.add("picture outside a class", place)
            else:
                _note_passed_over(entry, passed_over, place)
        elif is_hidden(entry.name):
            passed_over.add("hidden or system folder", f"{split.name}/{entry.name}")
        else:
            names.append(entry.name)
    return sorted(names)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one; a link that leads to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_special(entry: os.DirEntry[str]) -> bool:
    """Whether it is a pipe, which may never answer, a socket or a device, or a link to one."""
    return not _is_file(entry) and (not entry.is_symlink() or Path(entry.path).exists())


def _is_new(
    entry: os.DirEntry[str], known: set[Identity], passed_over: PassedOver, called: str
) -> bool:
    """Whether to go into a folder within a class folder."""
    if is_hidden(entry.name):
        passed_over.add("hidden or system folder", called)
        return False
    identity = _identity(Path(entry.path))
    if identity in known:
        passed_over.add("folder that is there already", called)
        return False
    known.add(identity)
    return True


def _note_passed_over(entry: os.DirEntry[str], passed_over: PassedOver, called: str) -> None:
    """Take note of something that is neither a folder nor an image."""
    if is_hidden(entry.name):
        passed_over.add("hidden or system file", called)
    elif _is_special(entry):
        passed_over.add("special file", called)
    else:
        passed_over.add_file(called, partial(_start_of, entry))


def _start_of(entry: os.DirEntry[str]) -> bytes:
    """A file's first bytes; none where it cannot be read."""
    try:
        # A pipe behind a link would never answer.
        if _is_file(entry):
            with Path(entry.path).open("rb") as file:
                return file.read(START)
    except OSError:
        pass
    return b""


def _identity(folder: Path) -> Identity:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino
