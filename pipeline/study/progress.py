"""What the terminal shows while tasks run: all of them in one bar, and a line a running task."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import TaskID

from pipeline.shown.live import live_lines
from pipeline.study.crew import Failure
from smskd.listening import Listener

_SPEED_OVER_S = 600.0


class Staged(Protocol):
    """A task that trains in stages."""

    @property
    def name(self) -> str:
        """What it is called on the screen."""

    @property
    def stage_epochs(self) -> tuple[int, ...]:
        """How many epochs each of its stages trains."""


class TasksDisplay:
    """Shows on a terminal what runs; in a log, where nothing can be live, what is done.

    Args:
        console: where to.
        tasks: how many there are in all.
        title: what they are together.
    """

    def __init__(self, console: Console, tasks: int, title: str) -> None:
        self.console, self.tasks, self.done = console, tasks, 0
        self.progress = live_lines(console, speed_estimate_period=_SPEED_OVER_S)
        self._all = self.progress.add_task(f"[bold]{title}[/bold]", total=tasks, figures="")
        self._lines: dict[str, TaskLine] = {}
        self._count()

    def started(self, task: Staged) -> Listener:
        """A task begins."""
        line = TaskLine(self, task)
        self._lines[task.name] = line
        return line

    def interrupted(self, task: Staged, why: str) -> None:
        """A task is to begin again, where it was stopped."""
        self._lines.pop(task.name).close()
        self._count()
        self.console.print(f"  {task.name}: begun again: {escape(why)}", soft_wrap=True)

    def ended(self, task: Staged, failure: Failure | None) -> None:
        """A task is done, was found done, or failed."""
        self.done += 1
        words = self.closed(task) or "done before"
        if failure:
            words = f"[red]failed[/red]: {escape(failure.message)}"
        self.tell(task.name, words)

    def closed(self, task: Staged) -> str | None:
        """Take a task's line away; what is to stay of it, None where it had no line."""
        line = self._lines.pop(task.name, None)
        return line.close() if line else None

    def tell(self, name: str, words: str) -> None:
        """A line that stays: what became of a task, and how many are done with it."""
        self._count()
        # Soft: in a log a line stays a line, however long.
        counted = f"{self.done:>{len(str(self.tasks))}}/{self.tasks}"
        self.console.print(f"  {counted}  {name}: {words}", soft_wrap=True)

    def advanced(self) -> None:
        """A running task came further."""
        self._count()

    def _count(self) -> None:
        share = sum(line.share for line in self._lines.values())
        figures = f"{self.done} of {self.tasks} done"
        self.progress.update(self._all, completed=self.done + share, figures=figures)


class TaskLine(Listener):
    """The line of one running task."""

    def __init__(self, display: TasksDisplay, task: Staged) -> None:
        self._display, self._task = display, task
        self._started = time.monotonic()
        self._total = max(sum(task.stage_epochs), 1)
        self._stage = self._stages_done = 0
        self._epochs = self._finished = 0
        self._in_stage: float = 0
        self._views = self._views_done = 0
        self._name = self._figures = ""
        self._line: TaskID = display.progress.add_task(
            f"  {task.name}", total=self._total, figures="getting ready"
        )

    @property
    def share(self) -> float:
        """How much of the task is done, 0..1."""
        return min((self._finished + self._in_stage) / self._total, 1.0)

    def now(self, activity: str) -> None:
        """What the task is at, between its stages."""
        self._show(activity, self._figures or "under way")

    def stage_started(self, name: str, epochs: int, done: int) -> None:
        self._stage += 1
        self._epochs, self._in_stage = epochs, done
        self._name = f"stage {self._stage} {name}"
        self._show(self._name, f"epoch {done}/{epochs}")

    def batch_done(self, batch: int, batches: int | None) -> None:
        if batches:
            self._in_stage = int(self._in_stage) + min(batch / batches, 0.999)
            running = f"epoch {int(self._in_stage) + 1}/{self._epochs} {self._figures}"
            self._show(self._name, f"{running} · {batch}/{batches} batches")

    def epoch_done(self, record: dict[str, Any]) -> None:
        self._in_stage = record["epoch"]
        top1 = record["val_top1"]
        self._figures = "" if top1 is None else f"val {100 * top1:.2f} %"
        self._show(self._name, f"epoch {self._in_stage}/{self._epochs} {self._figures}")

    def views_started(self, views: int, done: int) -> None:
        self._views, self._views_done = views, done

    def view_done(self) -> None:
        self._views_done += 1
        self._show("views of the teacher", f"{self._views_done}/{self._views}")

    def stage_done(self, name: str, seconds: float) -> None:
        # A stage that was done before is told of here alone.
        self._stages_done += 1
        self._stage = self._stages_done
        self._finished = sum(self._task.stage_epochs[: self._stages_done])
        self._in_stage = 0
        self._show(name, f"done in {seconds:.1f} s")

    def close(self) -> str:
        """Take the line away; what is to stay of it."""
        self._display.progress.remove_task(self._line)
        seconds = f"{time.monotonic() - self._started:.1f} s"
        return f"{self._figures}, {seconds}" if self._figures else seconds

    def _show(self, activity: str, figures: str) -> None:
        done = self._finished + self._in_stage
        shown = f"{activity} · {figures}"
        self._display.progress.update(self._line, completed=done, figures=shown)
        self._display.advanced()


@contextmanager
def study_display(console: Console, tasks: int) -> Iterator[TasksDisplay]:
    """A display whose live lines are taken away, whatever happens."""
    display = TasksDisplay(console, tasks, "study")
    with display.progress:
        yield display
