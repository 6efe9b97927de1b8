"""One process at a time works on a task, whoever begins it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from foundation.errors import BusyError

_OTHERS_END_WITHIN_S = 60.0


@contextmanager
def alone_in(place: Path, name: str) -> Iterator[None]:
    """Keep others from a task meanwhile, and wait for one that is about to end: a process whose
    worker or command was lost takes a while to notice.

    Args:
        place: the folder that the task leaves its files in; need not be there.
        name: of the task.

    Raises:
        BusyError: when another process goes on with it.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place.with_name(f".{place.name}.lock"), timeout=_OTHERS_END_WITHIN_S):
            yield
    except Timeout as error:
        raise BusyError(f"{place}: another process is working on {name}") from error
