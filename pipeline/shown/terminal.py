"""What the terminal shows: progress while the road is walked, tables at its end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import TaskID
from rich.table import Table

from deploy_targets.device.messages import SUSPECT
from deploy_targets.estimating.estimate import Estimate
from deploy_targets.measurement import Measurement
from foundation.words import plain
from pipeline.gating.ratios import RatioShown
from pipeline.gating.verdict import Verdict
from pipeline.shown.live import ProgressConsole, live_lines
from pipeline.shown.measurements import Cell, MeasuredTable, measured_table, start_table
from smskd.listening import Listener


def safe(text: str) -> str:
    """Text from elsewhere, that is shown as it is: no markup of rich's, no word to a terminal."""
    return escape(plain(text))


def progress_console() -> ProgressConsole:
    """Progress goes to standard error, so that standard output holds results alone."""
    return ProgressConsole()


def remarks_on(console: Console) -> Callable[[str], None]:
    """Shows a step's remarks, a line each: what was guessed, chosen or left out."""
    return lambda line: console.print(f"  note: {safe(line)}", soft_wrap=True)


def result_console() -> Console:
    """Tables for people, on standard output; wide enough for them where nobody looks."""
    width = None if sys.stdout.isatty() else 160
    # A class may be called ":cat:", and a run ":100:"; neither is a picture.
    return Console(highlight=False, emoji=False, width=width)


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


@dataclass(frozen=True)
class Outcome:
    """What a command found, for a machine and for a person.

    Attributes:
        content: JSON values.
        shown: tables and lines, in order.
        passed: False when a gate said no.
        inconclusive: whether it could not say.
    """

    content: Any
    shown: Sequence[RenderableType]
    passed: bool = True
    inconclusive: bool = False

    @property
    def exit_code(self) -> int:
        """0, 1 when a gate said no, 3 when it could not say."""
        return 3 if self.inconclusive else 0 if self.passed else 1

    def show(self) -> None:
        """Print it for a person, on standard output."""
        console = result_console()
        for part in self.shown:
            console.print(part)


def table_of(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of words; the last column may wrap."""
    table = Table(title=title, title_justify="left")
    for column in columns[:-1]:
        table.add_column(column, no_wrap=True)
    table.add_column(columns[-1])
    for row in rows:
        table.add_row(*(safe(word) for word in row))
    return table


def measurement_table(measurements: Sequence[Measurement]) -> Table:
    """Every bundle's figures, a row each; the teacher's first."""
    return _figures(measured_table(measurements))


def process_table(measurements: Sequence[Measurement]) -> Table:
    """How every bundle's process began, and its memory; a row each, the teacher's first."""
    return _figures(start_table(measurements))


def _figures(measured: MeasuredTable) -> Table:
    table = Table(
        title=measured.title, title_justify="left", box=SIMPLE_HEAD,
        caption="\n".join(map(safe, measured.notes)), caption_justify="left",
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    for number_of_column, head in enumerate(measured.heads):
        table.add_column(head, justify="right" if number_of_column else "left", overflow="fold")
    for row in measured.rows:
        table.add_row(*map(_two_lines, row))
    return table


def _two_lines(cell: Cell) -> str:
    words = safe(cell.words)
    if words == SUSPECT:
        words = f"[yellow]{words}[/]"
    return f"{words}\n[dim]{safe(cell.interval)}[/]" if cell.interval else words


def estimate_rows(estimates: Sequence[Estimate]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a table of estimates, which says of each figure that it is one."""
    heads = ["bundle", "target", "runtime × threads", "estimate ms", "low", "high", "rests on"]
    rows = [
        [
            estimate.bundle.name,
            estimate.target,
            f"{estimate.runtime} × {estimate.threads}",
            *(number(ms, 2) for ms in (value.value, value.low, value.high)),
            estimate.basis.words,
        ]
        for estimate in estimates
        if (value := estimate.latency_ms)
    ]
    return heads, rows


def ratio_table(ratios: Sequence[RatioShown]) -> Table:
    """Latencies over those of another bundle, a row each."""
    rows = [
        [
            ratio.bundle,
            ratio.host,
            ratio.reference,
            ratio.percentile,
            f"{ratio.estimate:.3f}",
            f"{ratio.low:.3f} to {ratio.high:.3f}",
            ratio.basis,
        ]
        for ratio in ratios
    ]
    heads = ["bundle", "host", "against", "latency", "ratio", "98 % interval", "how"]
    return table_of("Latency ÷ that of the other bundle: below 1 is faster", heads, rows)


_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


def verdict_table(verdict: Verdict) -> Table:
    """Each limit with its figure, and why it is answered so."""
    word = f"[{_COLOURS[verdict.verdict]}]{verdict.verdict.upper()}[/]"
    table = Table(title=f"Gate: {word}", title_justify="left")
    for column in ("bundle", "metric", "limit", "answer"):
        table.add_column(column, no_wrap=True)
    table.add_column("why")
    for check in verdict.checks:
        answer = f"[{_COLOURS[check.verdict]}]{check.verdict}[/]"
        words = map(safe, (verdict.name_of(check), check.metric, check.limit_words))
        table.add_row(*words, answer, safe(check.reason))
    return table


def signed(change: float | None) -> str:
    """A change in percentage points: "−1.50", "+0.20", "±0.00"; a dash where there is none."""
    if change is None:
        return "–"
    sign = "±" if round(change, 2) == 0 else "+" if change > 0 else "−"
    return f"{sign}{abs(change):.2f}"


def number(value: float | None, digits: int) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"
