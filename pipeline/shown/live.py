"""What is shown while work is under way: lines that live on a terminal, and a line now and then in
a log, where nothing can.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from pipeline.shown.pulse import Phase


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


def _row(task: Task) -> str:
    words = Text.from_markup(task.description, emoji=False).plain.strip()
    share = f"{task.percentage:.0f} %" if task.total else ""
    return ", ".join(part for part in (words, share, task.fields.get("figures", "")) if part)
