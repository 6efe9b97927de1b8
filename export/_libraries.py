"""Living with other people's libraries: keep them quiet, and put their failures in one line."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from foundation.errors import CompressError, ExportError, NoSpaceError, is_no_space

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_LONGEST = 240
_NO_SPACE = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "system error number 28")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop the warnings, log lines, prints and progress bars of what runs inside."""
    disabled_before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled_before)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """The same, and drop what a library in C++ writes past Python to standard error."""
    with quiet(), Path(os.devnull).open("wb") as nowhere:
        kept = os.dup(2)
        try:
            os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextlib.contextmanager
def writing(path: Path, size: int) -> Iterator[None]:
    """For a writer that does not say why it failed: when there is no room, that is why.

    Args:
        path: what it writes; the files of a broken attempt are still there.
        size: bytes that it needs, about.

    Raises:
        NoSpaceError: when it failed and there is no room for that much.
    """
    try:
        yield
    except (CompressError, OSError, MemoryError):
        raise
    except Exception as error:
        if not _has_room(path.parent, size):
            raise NoSpaceError(
                f"{path}: no space left on the device; free some and run the same command again, "
                "it goes on where it stopped"
            ) from error
        raise


def _has_room(folder: Path, size: int) -> bool:
    block = bytes(1 << 20)
    try:
        # Written, for neither a quota nor a limit on files shows in the free space.
        with tempfile.TemporaryFile(dir=folder) as file:
            for start in range(0, size, len(block)):
                file.write(block[: size - start])
            file.flush()
    except OSError as error:
        return not is_no_space(error)
    return True


@contextlib.contextmanager
def failing_as(failure: str, advice: str) -> Iterator[None]:
    """Turn a library's exception into an `ExportError`: "`failure` (its first line); `advice`".

    Our own errors pass as they are, and so do those of the operating system, which
    others know how to name. A full disk that a library writes in C++ tells in its own words.

    Raises:
        NoSpaceError: when that is what its words say.
    """
    try:
        yield
    except (CompressError, OSError, MemoryError):
        raise
    except Exception as error:
        if any(words in str(error) for words in _NO_SPACE):
            raise NoSpaceError(
                "the disk: no space left on the device; free some and run the same command again"
            ) from error
        raise ExportError(f"{failure} ({first_line(error)}); {advice}") from error


def first_line(error: BaseException) -> str:
    """The kind and the first line of the error at the root of `error`."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in _ANSI.sub("", str(error)).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
