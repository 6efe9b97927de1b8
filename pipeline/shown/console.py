"""Where progress goes, and what is told there of work of which no live line tells."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from foundation.logs import is_quiet
from pipeline.run_folder.torchrun import leads
from pipeline.shown.pulse import Pulse
from pipeline.shown.words import safe


class ProgressConsole(Console):
    """Where progress goes: to standard error, so that standard output holds results alone.

    Attributes:
        pulse: tells what is under way where no line can be live; None where one can.
    """

    def __init__(self) -> None:
        # The stream of now: while a library is kept quiet, sys.stderr is another.
        quiet = is_quiet() or not leads()
        super().__init__(file=sys.stderr, highlight=False, emoji=False, quiet=quiet)
        self.pulse: Pulse | None = None
        if not (quiet or self.is_terminal):
            self.pulse = Pulse(self._tell)

    def print(self, *objects: Any, **settings: Any) -> None:
        """As rich does it; the pulse then has nothing to tell for a while."""
        super().print(*objects, **settings)
        if self.pulse is not None:
            self.pulse.was_told()

    def warn(self, line: str) -> None:
        """Tell what must be told to whoever wants no progress, too."""
        was_quiet, self.quiet = self.quiet, not leads()
        self.print(f"  note: {safe(line)}", soft_wrap=True)
        self.quiet = was_quiet

    def _tell(self, line: str) -> None:
        self.print(f"  {safe(line)}", soft_wrap=True)


def progress_console() -> ProgressConsole:
    """Progress goes to standard error, so that standard output holds results alone."""
    return ProgressConsole()


def remarks_on(console: Console) -> Callable[[str], None]:
    """Shows a step's remarks, a line each: what was guessed, chosen or left out."""
    return lambda line: console.print(f"  note: {safe(line)}", soft_wrap=True)


class Activity:
    """Something under way of which no live line tells.

    Attributes:
        now: what is being done, for a log.
    """

    def __init__(self, now: str) -> None:
        self.now = now


@contextmanager
def at_work(console: Console, activity: str) -> Iterator[Activity]:
    """For as long as the block lasts, a log tells now and then that this is under way."""
    under_way = Activity(activity)
    pulse = getattr(console, "pulse", None)
    if pulse is None:
        yield under_way
        return
    with pulse.phase(lambda: under_way.now):
        yield under_way
