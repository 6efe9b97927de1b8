"""A step that times bundles on a host, and keeps a journal while it does.

One that was cut, because the link broke or a process was killed, goes on where the journal ends.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipeline.run_folder.folder import RunFolder
from pipeline.run_folder.process_output import process_output_kept

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


class Timing(Protocol[R_co]):
    """Times what is to be timed, keeps what comes of it in `journal`, and `remark`s on it."""

    def __call__(self, *, journal: Path, remark: Callable[[str], None]) -> R_co: ...


def timed_step(
    run: RunFolder,
    name: str,
    path: Path,
    time_it: Timing[T],
    write: Callable[[Path, T], None],
    *,
    depends_on: dict[str, Any],
    again: bool = False,
) -> Path:
    """Time something as a step of a run; what was timed before in the same way is not timed again.

    Args:
        run: the run folder.
        name: of the step in run.json.
        path: the file of the result, in the run folder; the journal lies beside it until the
            result does.
        time_it: called if there is something to do.
        write: puts a result into a file, whole or not at all.
        depends_on: JSON-able values that the result depends on.
        again: time it anew all the same, from the beginning.

    Returns:
        The file of the result.

    Raises:
        CorruptFileError: when the result that is there was changed since it was made.
        Whatever `time_it` and `write` raise; the journal stays then, and what a process that
            failed wrote to standard error lies in the run folder's logs.
    """
    with run.step(name, **depends_on) as step:
        if step.needed or again:
            journal = path.with_suffix(".journal")
            if again:
                journal.unlink(missing_ok=True)
            with process_output_kept(run, path.stem):
                result = time_it(journal=journal, remark=step.remark)
            write(path, result)
            journal.unlink(missing_ok=True)
            step.needed, step.products = True, [path]
    return path
