"""`compress run`: the whole road, each step reading what the one before left on disk."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console, RenderableType

from foundation.records import as_dict
from pipeline.commands.bench import bench_shown, looked_into_shown
from pipeline.commands.distill import begin, pruned_lines, stage_table, train
from pipeline.commands.export import export_shown
from pipeline.commands.gate import gate_shown
from pipeline.commands.outcomes import RunOutcome
from pipeline.gating.verdict import INCONCLUSIVE
from pipeline.recipe.file import RecipeFile
from pipeline.report.content import gather
from pipeline.report.terminal import headline_lines
from pipeline.report.write import report
from pipeline.run_folder.torchrun import leads
from pipeline.shown.console import at_work, progress_console
from pipeline.shown.measurement_tables import measurement_table
from pipeline.shown.outcome import Outcome
from pipeline.shown.verdicts import verdict_table


def walk(file: RecipeFile, path: Path | None) -> Outcome:
    """The whole road, from data to verdict.

    Args:
        file: the recipe.
        path: the run folder; None takes runs/NAME.
    """
    console, recipe = progress_console(), file.recipe
    run = begin(file, path, console)
    with run.locked():
        train(run, file, console)
        if not leads():
            return Outcome({}, [])
        _heading(console, "export")
        export_shown(run, recipe, console)
        _heading(console, "bench")
        measurements = bench_shown(run, recipe.bench, console)
        looked_into = looked_into_shown(run, recipe.bench, console)
        if looked_into.stop is not None:
            raise looked_into.stop
        verdict = gate_shown(run, recipe.gate, console) if recipe.gate.limits else None
        with at_work(console, "report: drawn and written"):
            content = gather(run)
            written = report(run, content=content)
    outcome = RunOutcome(
        run=str(run.path),
        networks=run.record()["networks"],
        remarks=run.remarks(),
        report=[str(report_path) for report_path in written],
        verdict=verdict,
    )
    shown: list[RenderableType] = [stage_table(run), *pruned_lines(run)]
    shown += [measurement_table(measurements), *looked_into.shown]
    shown += [verdict_table(verdict)] if verdict else []
    lines = [*headline_lines(content), *(f"report: {report_path}" for report_path in written)]
    return Outcome(
        as_dict(outcome),
        [*shown, *lines],
        passed=verdict is None or verdict.passed,
        inconclusive=verdict is not None and verdict.verdict == INCONCLUSIVE,
    )


def _heading(console: Console, name: str) -> None:
    console.print(f"[bold]{name}[/bold]")
