"""How training gets on: a live line on a terminal, a line an epoch in a log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import TaskID

from pipeline.shown.live import live_lines
from pipeline.shown.words import safe
from smskd.listening import Listener


class TrainingDisplay(Listener):
    """The running stage: epoch, losses by name, validation accuracy, time left.

    On a terminal a live line shows them, and a line stays for every finished stage. In a log,
    where nothing can be live, a line stays for every epoch.
    """

    def __init__(self, console: Console, role: str = "") -> None:
        self.console, self.role = console, role
        self._progress = live_lines(console)
        self._task: TaskID | None = None
        self._epochs, self._done, self._figures = 0, 0, ""

    def stage_started(self, name: str, epochs: int, done: int) -> None:
        self._epochs, self._done = epochs, done
        going_on = f", going on after epoch {done}" if done else ""
        self._line(f"[bold]{self.role}{name}[/bold]: {epochs} epochs{going_on}")
        self._progress.heading = f"{self.role}{name}"
        self._progress.start()
        self._task = self._progress.add_task(
            self._description(), total=epochs, completed=done, figures=""
        )

    def batch_done(self, batch: int, batches: int | None) -> None:
        if self._task is not None and batches:
            self._progress.update(
                self._task,
                completed=self._done + batch / batches,
                description=self._description(),
            )

    def epoch_done(self, record: dict[str, Any]) -> None:
        self._done = record["epoch"]
        losses = "  ".join(f"{name} {value:.3g}" for name, value in record["losses"].items())
        top1, agreement = record["val_top1"], record.get("val_agreement")
        self._figures = losses if top1 is None else f"{losses}  val {100 * top1:.2f} %"
        if agreement is not None:
            self._figures += f"  as the teacher {100 * agreement:.2f} %"
        for name, value in record.get("val_metrics", {}).items():
            self._figures += f"  {safe(name)} {value:.4g}"
        if self._task is not None:
            self._progress.update(self._task, completed=self._done, figures=self._figures)
        if not self.console.is_terminal:
            epoch = f"  epoch {self._done:>3}/{self._epochs}"
            self._line(f"{epoch}  {self._figures}  {record['seconds']:.1f} s")

    def stage_done(self, name: str, seconds: float) -> None:
        if self._task is None:
            self._line(f"[bold]{self.role}{name}[/bold]: done before, in {seconds:.1f} s")
            return
        self.close()
        self._line(f"  done in {seconds:.1f} s: {self._figures}")

    def views_started(self, views: int, done: int) -> None:
        self._line(f"[bold]{self.role}teacher's views[/bold]: {views} to keep")
        self._progress.heading = f"{self.role}teacher's views"
        self._progress.start()
        self._task = self._progress.add_task("  view", total=views, completed=done, figures="")

    def view_done(self) -> None:
        if self._task is not None:
            self._progress.advance(self._task)

    def views_done(self) -> None:
        self.close()

    def close(self) -> None:
        """Take the live line away."""
        self._progress.stop()
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = None

    def _description(self) -> str:
        return f"  epoch {min(self._done + 1, self._epochs)}/{self._epochs}"

    def _line(self, text: str) -> None:
        # Soft: in a log a line stays a line, however long.
        self.console.print(text, soft_wrap=True)


@contextmanager
def training_display(console: Console, role: str) -> Iterator[TrainingDisplay]:
    """A display whose live line is taken away, whatever happens."""
    display = TrainingDisplay(console, role)
    try:
        yield display
    finally:
        display.close()
