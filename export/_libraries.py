"""Living with other people's libraries: keep them quiet, and put their failures in one line."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator

from foundation.errors import CompressError, ExportError

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_LONGEST = 240


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
def failing_as(what: str, advice: str) -> Iterator[None]:
    """Turn a library's exception into an `ExportError`: "`what` (its first line); `advice`".

    Our own errors pass as they are, and so do those of the operating system, which
    others know how to name.
    """
    try:
        yield
    except (CompressError, OSError, MemoryError):
        raise
    except Exception as error:
        raise ExportError(f"{what} ({first_line(error)}); {advice}") from error


def first_line(error: BaseException) -> str:
    """The kind and the first line of the error at the root of `error`."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in _ANSI.sub("", str(error)).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
