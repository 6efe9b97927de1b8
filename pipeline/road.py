"""The road: the steps in their order, each reading what the one before left on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from foundation.bundle import open_bundle
from pipeline.display import (
    Outcome,
    measurement_table,
    number,
    progress_console,
    table_of,
    training_display,
    verdict_table,
)
from pipeline.measuring import bench_shown, changed_section
from pipeline.names import check_names
from pipeline.processes import join_processes, leads
from pipeline.recipe_file import RecipeFile
from pipeline.runs import DEFAULT_ROOT, RunFolder, open_run, start_run
from pipeline.steps.distil import distil
from pipeline.steps.export import export
from pipeline.steps.gate import gate
from pipeline.steps.prepare import TrainingData, prepare
from pipeline.steps.report import report
from pipeline.steps.teach import teach


def walk(file: RecipeFile, path: Path | None) -> Outcome:
    """The whole road, from data to verdict.

    Args:
        file: the recipe.
        path: the run folder; None takes runs/NAME.
    """
    check_names(file)
    console = progress_console()
    recipe = file.recipe
    join_processes(recipe.engine)
    run = start_run(path or DEFAULT_ROOT / recipe.name, recipe)
    with run.locked():
        _train(run, file, console)
        if not leads():
            return Outcome({}, [])
        _heading(console, "export")
        export(run, recipe.export, lambda line: console.print(f"  {line}"))
        _heading(console, "bench")
        measurements = bench_shown(run, recipe.bench, console)
        verdict = gate(run, recipe.gate) if recipe.gate.limits else None
        written = report(run)
    content = {
        "run": str(run.path),
        "networks": run.record()["networks"],
        "report": [str(one) for one in written],
        "verdict": verdict.as_dict() if verdict else None,
    }
    shown = [_stage_table(run), measurement_table(measurements)]
    shown += [verdict_table(verdict)] if verdict else []
    lines = [f"report: {one}" for one in written]
    return Outcome(content, [*shown, *lines], verdict is None or verdict.passed)


def distill_only(file: RecipeFile, path: Path | None) -> Outcome:
    """Data, teacher and student."""
    check_names(file)
    join_processes(file.recipe.engine)
    run = start_run(path or DEFAULT_ROOT / file.recipe.name, file.recipe)
    with run.locked():
        _train(run, file, progress_console())
    content = {"run": str(run.path), "networks": run.record()["networks"]}
    return Outcome(content, [_stage_table(run), f"student: {run.student}"])


def export_only(path: Path | None, changes: Mapping[str, Any]) -> Outcome:
    """Bundles of a run's student.

    Args:
        path: the run folder; None takes the one used last.
        changes: keys of the recipe's export section that the command line gave.
    """
    run = open_run(path)
    asked = changed_section(run, "export", changes)
    check_names(RecipeFile(asked))
    console = progress_console()
    with run.locked():
        folders = export(run, asked.export, lambda line: console.print(f"  {line}"))
    return _bundle_outcome(run, folders)


def _train(run: RunFolder, file: RecipeFile, console: Console) -> None:
    data = TrainingData(file)
    prepare(run, data)
    with training_display(console, "teacher: ") as display:
        teach(run, data, display)
    with training_display(console, "stage ") as display:
        distil(run, data, display)


def _heading(console: Console, name: str) -> None:
    console.print(f"[bold]{name}[/bold]")


def _stage_table(run: RunFolder) -> Table:
    networks = run.record()["networks"]
    rows = [
        [
            role,
            network["model"],
            f"{network['parameters']:,}",
            number(100 * network["validation"]["top1"], 2),
            number(100 * network["test"]["top1"], 2),
        ]
        for role, network in networks.items()
    ]
    return table_of(
        "Networks", ["role", "model", "parameters", "validation top-1 %", "test top-1 %"], rows
    )


def _bundle_outcome(run: RunFolder, folders: list[Path]) -> Outcome:
    bundles = [open_bundle(folder) for folder in folders]
    rows = [
        [
            bundle.manifest.name,
            f"{bundle.model_bytes / 1e3:,.0f}",
            number(100 * bundle.manifest.accuracy["top1"], 2),
            f"{bundle.manifest.parity['relative_error']:.1e}",
            number(100 * bundle.manifest.parity["top1_agreement"], 1),
            str(bundle.folder),
        ]
        for bundle in bundles
    ]
    columns = ["bundle", "kB", "test top-1 %", "relative error", "same top-1 %", "folder"]
    content = {
        "run": str(run.path),
        "bundles": [
            {
                "name": bundle.manifest.name,
                "folder": str(bundle.folder),
                "model_bytes": bundle.model_bytes,
                "accuracy": bundle.manifest.accuracy,
                "parity": bundle.manifest.parity,
            }
            for bundle in bundles
        ],
    }
    return Outcome(content, [table_of("Bundles", columns, rows)])
