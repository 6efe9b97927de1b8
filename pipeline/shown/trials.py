"""What the terminal shows of a search: each trial, how many are left, and the rounds of timing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID

from pipeline.shown.live import live_lines

if TYPE_CHECKING:
    from export.searching.trials import TrialResult
    from pipeline.exporting.precision_search import OnTrial


class TrialDisplay:
    """A line stays for each trial; a live one shows how many are left, and then the timing."""

    def __init__(self, console: Console, progress: Progress, max_trials: int) -> None:
        self._console, self._progress, self._max = console, progress, max_trials
        self._tasks: dict[str, TaskID] = {}

    def trial(self, export_format: str, result: TrialResult, left: int) -> None:
        """Show a trial; see `pipeline.exporting.precision_search.OnTrial`."""
        self._show(f"  {export_format} trials", self._max - left, self._max, f"{left} left at most")
        before = " (done before)" if result.resumed else ""
        # In a log, where no live line tells it.
        more = "" if self._console.is_terminal else f"; {left} left at most"
        line = f"  {export_format} {result.candidate.label}: {_outcome_words(result)}{before}{more}"
        self._console.print(escape(line), soft_wrap=True)

    def round(self, step: dict[str, Any]) -> None:
        """Show a step of a comparison; see `deploy_targets.measuring.compare.compare`."""
        if step["step"] == "round":
            self._show("  timing in turns", step["number"], step["of"], "")

    def _show(self, name: str, done: int, of: int, figures: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=of, figures="")
        self._progress.update(self._tasks[name], completed=done, figures=figures)


@contextmanager
def shipping_display(
    console: Console, max_trials: int
) -> Iterator[tuple[OnTrial, Callable[[dict[str, Any]], None]]]:
    """What to tell of trials and of rounds; live lines are taken away, whatever happens."""
    with live_lines(console) as progress:
        progress.heading = "choosing what ships"
        display = TrialDisplay(console, progress, max_trials)
        yield display.trial, display.round


def _outcome_words(result: TrialResult) -> str:
    if result.trial is None:
        return f"cannot be made ({_in_short(result.error)})"
    accuracy = f"{100 * result.accuracy:.2f} %"
    if result.candidate.precision == "fp32":
        return accuracy
    metric = result.trial.metric
    unit = "points" if metric is None else f"of {metric.first}"
    return f"{accuracy}, {result.drop:+.2f} {unit} lost ({result.low:+.2f} to {result.high:+.2f})"


def _in_short(error: str) -> str:
    """What failed, and where the rest of it is kept; not what is to be done, of which there may be
    ten in a search."""
    failure, *details = error.split("; ")
    return "; ".join([failure, *(part for part in details[-1:] if "is kept in" in part)])
