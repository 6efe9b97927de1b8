"""Files as the house writes and reads them: whole or not at all, checked when read."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from foundation.digests import digest_of
from foundation.documents import LARGEST_JSON, LARGEST_TOML, decoded, parse_json, parse_toml
from foundation.errors import (
    CorruptFileError,
    MissingFileError,
    NoSpaceError,
    RecipeError,
    is_no_space,
)

logger = logging.getLogger(__name__)

LOCK = ".lock"
"""The file in a folder that is held by who works there."""

_MAKE_ANEW = "delete it to make it anew"

_READING_UMASK = threading.Lock()

# As `replacing` has them made.
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp", re.DOTALL)


def user_path(named: str | Path) -> Path:
    """A path as a person writes it: "~" and "~user" are home folders.

    Raises:
        MissingFileError: when nobody knows the home folder.
    """
    try:
        return Path(named).expanduser()
    except RuntimeError as error:
        raise MissingFileError(
            f"{named}: there is no home folder of that user; write the whole path"
        ) from error


@contextlib.contextmanager
def no_space_named(path: Path) -> Iterator[None]:
    """Turn the operating system's "disk full" into a `NoSpaceError` that names `path`."""
    try:
        yield
    except OSError as error:
        if is_no_space(error):
            raise NoSpaceError(
                f"{path}: no space left on the device; free some and run the same command again, "
                "it goes on where it stopped"
            ) from error
        raise


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path`, in one step.

    If the body fails, or the process dies, `path` is as it was before.

    Raises:
        NoSpaceError: when the disk is full.
    """
    with no_space_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
            # mkstemp makes files private to the user; a product is as readable as any other file.
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
            logger.debug("%s: written", path)
        finally:
            temporary.unlink(missing_ok=True)


def check_inside(folder: Path) -> None:
    """Make sure that nothing in a folder of ours leads out of it, before anything is written there.

    The folder itself may be a link, and links within it may lead to other places in it. What hides
    at its top (.git, .venv) is nobody's of ours and is not looked at, the lock aside.

    Raises:
        CorruptFileError: when a link leads elsewhere: to write there would change what is not ours.
    """
    root = folder.resolve()
    for path in _entries_below(folder):
        is_others = path.parent == folder and path.name.startswith(".") and path.name != LOCK
        if path.is_symlink() and not is_others and not _leads_into(path, root):
            raise CorruptFileError(
                f"{path}: is a link that leads out of {folder} (to {path.readlink()}), where "
                "nothing is written; take it away"
            )


def clear_leftovers(folder: Path) -> None:
    """Take away what processes that were killed left half-written; for who holds its lock."""
    for path in _entries_below(folder):
        if _TEMPORARY.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.unlink()


def _leads_into(link: Path, root: Path) -> bool:
    try:
        return link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # in a ring
        return False


def _entries_below(folder: Path) -> Iterator[Path]:
    """All that lies in a folder and in folders in it; links are not followed."""
    for at, folders, files in os.walk(folder):
        if Path(at) == folder:
            folders[:] = [name for name in folders if not name.startswith(".") or name == LOCK]
        yield from (Path(at, name) for name in (*folders, *files))


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text to `path` atomically."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON to `path` atomically; not-a-number is refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_bounded(path: Path, largest: int) -> bytes:
    """The content of a file.

    Args:
        path: the file.
        largest: bytes that it may have.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is larger, or no file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise CorruptFileError(f"{path}: is a folder, where a file was expected") from error
    logger.debug("%s: read, %d bytes", path, len(content))
    if len(content) > largest:
        raise CorruptFileError(f"{path}: larger than {largest >> 20} MiB, which no such file is")
    return content


def read_json(path: Path, advice: str = _MAKE_ANEW) -> Any:
    """The parsed content of a JSON file, within the bounds of `foundation.documents`.

    Args:
        path: the file.
        advice: what to do where it is none; the end of the message.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is not JSON, names a key twice, or goes beyond the bounds.
    """
    try:
        return parse_json(read_bounded(path, LARGEST_JSON))
    except ValueError as error:
        raise CorruptFileError(f"{path}: not valid JSON ({error}); {advice}") from error


def read_toml(path: Path, title: str) -> tuple[dict[str, Any], str]:
    """The parsed content of a TOML file, within the bounds of `foundation.documents`; its text.

    Args:
        path: the file, which a person has written.
        title: what it is, for messages.

    Raises:
        MissingFileError: when there is no such file.
        RecipeError: when it is not TOML or goes beyond the bounds.
    """
    try:
        text = decoded(read_bounded(path, LARGEST_TOML))
        return parse_toml(text), text
    except MissingFileError as error:
        raise MissingFileError(f"{path}: no such {title}; check the path") from error
    except CorruptFileError as error:
        raise RecipeError(str(error)) from error
    except ValueError as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from error


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's content, which is read once a process (`foundation.digests`)."""
    return digest_of(path)[0]


def check_sha256(path: Path, expected: str, advice: str = _MAKE_ANEW) -> None:
    """Make sure that a file still is what was recorded.

    Args:
        path: the file.
        expected: its hex SHA-256 as recorded.
        advice: what to do where it is another; the end of the message.

    Raises:
        MissingFileError: when it is gone.
        CorruptFileError: when its content differs.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file, though it is recorded as made")
    actual = sha256_of(path)
    if actual != expected:
        raise CorruptFileError(
            f"{path}: checksum differs (recorded {expected[:12]}…, found {actual[:12]}…); {advice}"
        )


def _umask() -> int:
    # It can only be read by setting it, for the whole process: one thread at a time, and what
    # another makes meanwhile is private.
    with _READING_UMASK:
        mask = os.umask(0o077)
        os.umask(mask)
    return mask
