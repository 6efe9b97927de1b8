"""What is shown while work is under way: lines that live on a terminal, and a line now and then in
a log, where nothing can.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from foundation.logs import is_quiet
from foundation.words import plain
from pipeline.run_folder.torchrun import leads
from pipeline.shown.pulse import Phase, Pulse


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
        self.print(f"  note: {escape(plain(line))}", soft_wrap=True)
        self.quiet = was_quiet

    def _tell(self, line: str) -> None:
        self.print(f"  {escape(plain(line))}", soft_wrap=True)


class LiveLines(Progress):
    """Lines that live on a terminal; in a log, the console's pulse tells them now and then.

    Attributes:
        heading: what all of them are about, for a log.
    """

    def __init__(self, console: Console, *columns: ProgressColumn, **settings: Any) -> None:
        super().__init__(
            *columns,
            console=console,
            transient=True,
            disable=console.quiet or not console.is_terminal,
            **settings,
        )
        self.heading = ""
        self._pulse = getattr(console, "pulse", None)
        self._phase: Phase | None = None

    def start(self) -> None:
        """Show them from now on."""
        super().start()
        if self._pulse is not None and self._phase is None:
            self._phase = self._pulse.begin(self.status)

    def stop(self) -> None:
        """Take them away."""
        super().stop()
        if self._pulse is not None and self._phase is not None:
            self._pulse.end(self._phase)
            self._phase = None

    def status(self) -> str:
        """All of them in one line of plain text."""
        rows = "; ".join(_row(task) for task in self.tasks if task.visible)
        return ": ".join(part for part in (self.heading, rows) if part)


def live_lines(console: Console, **settings: Any) -> LiveLines:
    """Lines with a bar, figures and the time left, that live as long as the work does.

    A task's figures are its field `figures`.
    """
    return LiveLines(
        console,
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        **settings,
    )


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


def _row(task: Task) -> str:
    words = Text.from_markup(task.description, emoji=False).plain.strip()
    share = f"{task.percentage:.0f} %" if task.total else ""
    return ", ".join(part for part in (words, share, task.fields.get("figures", "")) if part)
