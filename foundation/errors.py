"""The errors a user can meet, each with its own exit code.

An error message is one line that says what is wrong, where, and what to do. The
command line prints it and leaves with `exit_code`; a library user catches
`CompressError` or one of its kinds.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from typing import ClassVar

from foundation.words import plain


class CompressError(Exception):
    """Something the user can put right. Kinds below say what; `exit_code` says it to a shell.

    Attributes:
        process_output: what a process that failed wrote to standard error, for whoever can keep
            it; see `process_output_of`.
    """

    exit_code: ClassVar[int] = 9
    process_output: str = ""

    def __init__(self, message: str = "") -> None:
        # It may quote what a device, a file or a checkpoint says, and a terminal obeys some of it.
        super().__init__(plain(message))


class UsageError(CompressError):
    """The command line asks for something that does not make sense."""

    exit_code = 2


class MissingFileError(CompressError):
    """A file or folder that was named, or that an earlier step makes, is not there."""

    exit_code = 10


class RecipeError(CompressError):
    """The recipe has an unknown key, a wrong type or an impossible value."""

    exit_code = 11


class UnknownNameError(CompressError):
    """No method, model, dataset, target, ... of that name."""

    exit_code = 12


class DataLayoutError(CompressError):
    """A dataset is not laid out as it must be: a missing split, an empty class folder."""

    exit_code = 13


class UnreadableImageError(CompressError):
    """An image file cannot be decoded."""

    exit_code = 14


class WeightsMismatchError(CompressError):
    """Weights do not fit the model: another architecture or another number of classes.

    Attributes:
        known_classes: how many classes the weights know, where that alone is what does not fit.
    """

    exit_code = 15
    known_classes: int | None = None


class CorruptFileError(CompressError):
    """A file is not what was written: its checksum differs or it cannot be parsed."""

    exit_code = 16


class RunMismatchError(CompressError):
    """The run folder was made by another recipe, or of other data."""

    exit_code = 17


class NoSpaceError(CompressError):
    """The disk is full, or a quota is used up."""

    exit_code = 18


class ModelMismatchError(CompressError):
    """A model cannot be used here: it cannot be built, run or matched with the other one."""

    exit_code = 19


class ExportError(CompressError):
    """A model cannot be exported or quantised, or the result does not agree with the original."""

    exit_code = 20


class HostError(CompressError):
    """A host cannot be reached, lacks a runtime, or its measuring process failed."""

    exit_code = 21


class TrainingError(CompressError):
    """Training cannot go on: the loss is not a number any more."""

    exit_code = 23


class InternalError(CompressError):
    """Something that nobody foresaw: a fault of this program. The number is BSD's EX_SOFTWARE."""

    exit_code = 70


class UntrustedCodeError(CompressError):
    """A recipe from a file names code to run, and nobody said that it may."""

    exit_code = 24


class NothingQualifiesError(CompressError):
    """No trial of a search keeps, beyond doubt, what was asked of the one to ship."""

    exit_code = 25


class BusyError(CompressError):
    """Another process is working in the same run folder."""

    exit_code = 22


def process_output_of(error: BaseException) -> str:
    """What the process behind an error wrote to standard error; "" where there is none."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, CompressError) and cause.process_output:
            return cause.process_output
        cause = cause.__cause__
    return ""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`, or None if none does."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def unknown_name(kind: str, name: str, known: Iterable[str], where: str = "") -> UnknownNameError:
    """An `UnknownNameError` that quotes `name` and offers the nearest name and the whole list."""
    known = sorted(known)
    close = nearest(name, known)
    hint = f", did you mean {close!r}?" if close else "."
    at = f"{where}: " if where else ""
    return UnknownNameError(f"{at}unknown {kind} {name!r}{hint} Known: {', '.join(known)}")


def is_want_of_memory(error: BaseException) -> bool:
    """Whether `error` means that there is not enough memory, of the machine or an accelerator."""
    # torch has an error of its own for an accelerator's memory, and none for the machine's.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def is_no_space(error: OSError) -> bool:
    """Whether `error` means a full disk or a quota that is used up."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_not_writable(error: OSError) -> bool:
    """Whether `error` means a place that this process may read and not write."""
    return error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}
