"""Files as the house writes and reads them: whole or not at all, checked when read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from foundation.errors import CorruptFileError, MissingFileError, NoSpaceError, is_no_space

_READING_UMASK = threading.Lock()


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
        finally:
            temporary.unlink(missing_ok=True)


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


def read_json(path: Path) -> Any:
    """The parsed content of a JSON file.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is not JSON, or names a key twice.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_each_key_once)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file") from error
    # Decoding errors are ValueErrors; nested too deeply, a file exhausts the parser's stack.
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(
            f"{path}: not valid JSON ({error}); delete it to make it anew"
        ) from error


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, expected: str) -> None:
    """Make sure that a file still is what was recorded.

    Raises:
        MissingFileError: when it is gone.
        CorruptFileError: when its content differs.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file, though it is recorded as made")
    found = sha256_of(path)
    if found != expected:
        raise CorruptFileError(
            f"{path}: checksum differs (recorded {expected[:12]}…, found {found[:12]}…); "
            "delete it to make it anew"
        )


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Of two equal keys Python keeps the last and others the first, so the file means nothing.
    table = dict(pairs)
    if len(table) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice!r} stands there twice")
    return table


def _umask() -> int:
    # It can only be read by setting it, for the whole process: one thread at a time, and what
    # another makes meanwhile is private.
    with _READING_UMASK:
        mask = os.umask(0o077)
        os.umask(mask)
    return mask
