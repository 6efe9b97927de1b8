"""The second half of the road: measure, report, judge. No torch is imported here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from deploy_targets.measurement import Measurement, read_measurement
from deploy_targets.records import as_dict
from pipeline.display import Outcome, measurement_table, progress_console, verdict_table
from pipeline.gate import Verdict
from pipeline.recipe import BenchRecipe, GateRecipe, Recipe
from pipeline.recipe_file import load_recipe, read_toml, validated
from pipeline.runs import RunFolder, open_run
from pipeline.steps.bench import bench
from pipeline.steps.gate import gate


def bench_only(
    path: Path | None, changes: Mapping[str, Any], only: Sequence[str] | None
) -> Outcome:
    """Measure a run's bundles.

    Args:
        path: the run folder; None takes the one used last.
        changes: keys of the recipe's bench section that the command line gave.
        only: names of bundles; None takes all.
    """
    run = open_run(path)
    asked = changed_section(run, "bench", changes).bench
    with run.locked():
        measurements = bench_shown(run, asked, progress_console(), only)
    return Outcome(
        {"run": str(run.path), "measurements": [as_dict(one) for one in measurements]},
        [measurement_table(measurements)],
    )


def report_only(path: Path | None) -> Outcome:
    """Write a run's report from what lies in its folder."""
    from pipeline.report.content import gather  # noqa: PLC0415
    from pipeline.report.terminal import shown_of  # noqa: PLC0415
    from pipeline.steps.report import report  # noqa: PLC0415 - matplotlib, which a gate needs not

    run = open_run(path)
    with run.locked():
        written = report(run)
    content = gather(run)
    measured = [measurement_table(content.measurements)] if content.measurements else []
    return Outcome(
        {"run": str(run.path), "written": [str(file) for file in written]},
        [*measured, *shown_of(content), *(f"written: {file}" for file in written)],
    )


def gate_only(path: Path | None, budget: Path | None, only: Sequence[str] | None) -> Outcome:
    """Judge a run's measurements by a budget file, or by the recipe's."""
    run = open_run(path)
    rules = run.recipe().gate if budget is None else read_budget(budget)
    if only:
        rules = rules.model_copy(update={"bundles": list(only)})
    with run.locked():
        verdict = gate(run, rules)
    return verdict_outcome(run, verdict)


def verdict_outcome(run: RunFolder, verdict: Verdict) -> Outcome:
    """A verdict, to be shown."""
    content = {"run": str(run.path), **verdict.as_dict()}
    return Outcome(content, [verdict_table(verdict)], verdict.passed)


def bench_shown(
    run: RunFolder, asked: BenchRecipe, console: Console, only: Sequence[str] | None = None
) -> list[Measurement]:
    """Measure with a live line, and give what was measured."""
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("measuring")
        seen: set[str] = set()

        def show(bundle: str, facts: dict[str, Any]) -> None:
            if bundle not in seen:
                seen.add(bundle)
                console.print(f"  measuring {bundle}")
            progress.update(task, description=f"{bundle}: {facts.get('step', '')}")

        paths = bench(run, asked, show, lambda line: console.print(f"  {line}"), only)
    return [read_measurement(path) for path in paths]


def changed_section(run: RunFolder, section: str, changes: Mapping[str, Any]) -> Recipe:
    """A run's recipe with some keys of one section replaced, and validated again."""
    overrides = {f"{section}.{key}": value for key, value in changes.items()}
    return load_recipe(run.recipe_path, overrides).recipe


def read_budget(path: Path) -> GateRecipe:
    """A budget from a TOML file of its own: the keys of the recipe's gate section.

    Raises:
        MissingFileError: when there is no such file.
        RecipeError: when it is not a budget.
    """
    return validated(GateRecipe, *read_toml(path, "budget"))
