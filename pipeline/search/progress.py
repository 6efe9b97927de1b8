"""What the terminal shows while a search runs: a line for each trial under way, one that stays for
each that ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from pipeline.search.limits import UNITS
from pipeline.search.points import TrialPoint
from pipeline.search.task import TrialTask
from pipeline.study.crew import Failure
from pipeline.study.progress import Staged, TasksDisplay


class SearchDisplay(TasksDisplay):
    """Tells of trials; see `TasksDisplay`.

    Args:
        console: where to.
        tasks: how many trials there are to be in all, those of other processes too.
        objectives: what is told of one that ended.
    """

    def __init__(self, console: Console, tasks: int, objectives: Sequence[str]) -> None:
        super().__init__(console, tasks, "search")
        self.objectives = objectives

    def ended(self, task: Staged, failure: Failure | None) -> None:
        """A trial failed; of one that ended well, `measured` or `stopped` tells."""
        if failure:
            super().ended(task, failure)

    def measured(self, task: TrialTask, point: TrialPoint, status: str) -> None:
        """A trial is done."""
        figures = (self._figure(point, name) for name in self.objectives)
        self._told(task, f"{', '.join(figures)}: {status}")

    def stopped(self, task: TrialTask, reason: str) -> None:
        """A trial was stopped early."""
        self._told(task, f"[yellow]stopped[/yellow]: {escape(reason)}")

    def noted(self, line: str) -> None:
        """Something else that a person should know."""
        self.console.print(f"  {escape(line)}", soft_wrap=True)

    def seen(self, done: int) -> None:
        """So many trials are done, by whichever process."""
        self.done = max(done, self.done)
        self.advanced()

    def _told(self, task: TrialTask, words: str) -> None:
        self.done += 1
        self.closed(task)
        self.tell(task.name, words)

    @staticmethod
    def _figure(point: TrialPoint, name: str) -> str:
        figure, unit = point.figure(name), next(iter(UNITS[name]))
        if figure is None:
            return f"{name} –"
        digits = f"{figure.value:.2f}" if name == "accuracy" else f"{figure.value:.3g}"
        return f"{name} {digits} {unit}"


@contextmanager
def search_display(
    console: Console, trials: int, objectives: Sequence[str]
) -> Iterator[SearchDisplay]:
    """A display whose live lines are taken away, whatever happens."""
    display = SearchDisplay(console, trials, objectives)
    with display.progress:
        yield display
