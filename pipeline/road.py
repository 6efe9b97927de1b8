"""The road: the steps in their order, each reading what the one before left on disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from deploy_targets.records import as_dict
from foundation.bundle import open_bundle
from foundation.errors import CompressError
from pipeline.display import (
    Outcome,
    measurement_table,
    number,
    progress_console,
    remarks_on,
    table_of,
    training_display,
    verdict_table,
)
from pipeline.gating.verdict import INCONCLUSIVE
from pipeline.measuring import bench_shown, gate_shown
from pipeline.names import check_names
from pipeline.outcomes import BundleMade, DistillOutcome, ExportOutcome, RunOutcome
from pipeline.processes import join_processes, leads
from pipeline.recipe import Recipe
from pipeline.recipe_file import RecipeFile, load_recipe
from pipeline.report.content import gather
from pipeline.report.terminal import headline_lines, shown_of_shipping
from pipeline.run_records import check_manifest_facts
from pipeline.runs import DEFAULT_ROOT, RunFolder, open_run, start_run
from pipeline.shipping import read_shipping
from pipeline.steps.adopt import adopt, as_its_graph_takes, check_there
from pipeline.steps.distil import distil
from pipeline.steps.export import export, export_teacher
from pipeline.steps.prepare import TrainingData, prepare
from pipeline.steps.report import report
from pipeline.steps.ship import Watch, ship
from pipeline.steps.teach import teach
from pipeline.trial_display import shipping_display
from pipeline.trust import check_code


def walk(file: RecipeFile, path: Path | None) -> Outcome:
    """The whole road, from data to verdict.

    Args:
        file: the recipe.
        path: the run folder; None takes runs/NAME.
    """
    console, recipe = progress_console(), file.recipe
    path = path or DEFAULT_ROOT / recipe.name
    check_code(file, path, remarks_on(console))
    check_names(file)
    join_processes(recipe.engine)
    run = start_run(path, recipe, remarks_on(console))
    with run.locked():
        _train(run, file, console)
        if not leads():
            return Outcome({}, [])
        _heading(console, "export")
        _export(run, recipe, console)
        _heading(console, "bench")
        measurements = bench_shown(run, recipe.bench, console)
        verdict = gate_shown(run, recipe.gate, console) if recipe.gate.limits else None
        written = report(run)
        headline = gather(run).headline
    found = RunOutcome(
        run=str(run.path),
        networks=run.record()["networks"],
        remarks=run.remarks(),
        report=[str(one) for one in written],
        verdict=verdict,
    )
    shown: list[RenderableType] = [_stage_table(run), *_pruned_lines(run)]
    shown += [measurement_table(measurements)]
    shown += [verdict_table(verdict)] if verdict else []
    lines = [*headline_lines(headline), *(f"report: {one}" for one in written)]
    return Outcome(
        as_dict(found),
        [*shown, *lines],
        passed=verdict is None or verdict.passed,
        inconclusive=verdict is not None and verdict.verdict == INCONCLUSIVE,
    )


def distill_only(file: RecipeFile, path: Path | None) -> Outcome:
    """Data, teacher and student."""
    console = progress_console()
    path = path or DEFAULT_ROOT / file.recipe.name
    check_code(file, path, remarks_on(console))
    check_names(file)
    join_processes(file.recipe.engine)
    run = start_run(path, file.recipe, remarks_on(console))
    with run.locked():
        _train(run, file, console)
    found = DistillOutcome(
        run=str(run.path), networks=run.record()["networks"], remarks=run.remarks()
    )
    content = as_dict(found)
    return Outcome(content, [_stage_table(run), *_pruned_lines(run), f"student: {run.student}"])


def export_only(path: Path | None, changes: Mapping[str, Any]) -> Outcome:
    """Bundles of a run's student.

    Args:
        path: the run folder; None takes the one used last.
        changes: keys of the recipe's export section that the command line gave.
    """
    console = progress_console()
    run = open_run(path, remarks_on(console))
    overrides = {f"export.{key}": value for key, value in changes.items()}
    file = load_recipe(run.recipe_path, overrides)
    check_code(file, run.path, remarks_on(console))
    asked = file.recipe
    check_names(RecipeFile(asked))
    with run.locked():
        folders = _export(run, asked, console)
    return _bundle_outcome(run, folders)


def adopt_and_export(file: RecipeFile, path: Path | None) -> Outcome:
    """Bundles of a network that was trained elsewhere; a run folder is made for it."""
    console = progress_console()
    path = path or DEFAULT_ROOT / file.recipe.name
    check_code(file, path, remarks_on(console))
    check_names(file)
    check_there(file.recipe.student)
    file, remarks = as_its_graph_takes(file)
    with _gone_unless_adopted(path):
        run = start_run(path, file.recipe, remarks_on(console))
        with run.locked():
            data = TrainingData(file)
            prepare(run, data)
            adopt(run, data, remarks)
    with run.locked():
        folders = _export(run, file.recipe, console)
    return _bundle_outcome(run, folders)


@contextmanager
def _gone_unless_adopted(path: Path) -> Iterator[None]:
    """A new run folder goes again with the mistake that it began with: the next try is another's,
    and `runs/` holds none that cannot be gone on with."""
    new = not path.exists()
    try:
        yield
    except (CompressError, OSError):
        if new:
            shutil.rmtree(path, ignore_errors=True)
        raise


def _export(run: RunFolder, recipe: Recipe, console: Console) -> list[Path]:
    """The bundles that are asked for, or those from which the one that ships was chosen."""

    def say(line: str) -> None:
        console.print(f"  {escape(line)}")

    if recipe.export.limit is None:
        return export(run, recipe.export, say)
    with shipping_display(console, recipe.export.max_trials) as (on_trial, on_round):
        folders = ship(run, recipe.export, recipe.bench, Watch(say, on_trial, on_round))
    if recipe.export.teacher:
        folders += export_teacher(run, recipe.export, say)
    return folders


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
            _macs(network),
            number(100 * network["validation"]["top1"], 2),
            number(100 * network["test"]["top1"], 2),
        ]
        for role, network in networks.items()
    ]
    return table_of(
        "Networks",
        ["role", "model", "parameters", "million MACs", "validation top-1 %", "test top-1 %"],
        rows,
    )


def _pruned_lines(run: RunFolder) -> list[str]:
    """What each pruning of the student left, a line each."""
    costs = [
        (one["before_stage"], one["before"], one["after"])
        for one in run.record()["networks"]["student"].get("pruned", [])
    ]
    return [
        f"pruned before stage {stage}: {before['parameters']:,} → {after['parameters']:,} "
        f"parameters, {_macs(before)} → {_macs(after)} million MACs"
        for stage, before, after in costs
    ]


def _macs(cost: dict[str, Any]) -> str:
    return number(_millions(cost.get("macs")), 1)


def _millions(count: int | None) -> float | None:
    return None if count is None else count / 1e6


def _bundle_outcome(run: RunFolder, folders: list[Path]) -> Outcome:
    bundles = [open_bundle(folder) for folder in folders]
    for bundle in bundles:
        check_manifest_facts(bundle.folder, bundle.manifest)
    rows = [
        [
            bundle.manifest.name,
            f"{bundle.model_bytes / 1e3:,.0f}",
            number(_percent(bundle.manifest.accuracy.get("top1")), 2),
            _error(bundle.manifest.parity.get("relative_error")),
            number(_percent(bundle.manifest.parity.get("top1_agreement")), 1),
            str(bundle.folder),
        ]
        for bundle in bundles
    ]
    columns = ["bundle", "kB", "test top-1 %", "relative error", "same top-1 %", "folder"]
    shipping = read_shipping(run.shipping_path) if _has_shipping(run, folders) else None
    made = [
        BundleMade(
            name=bundle.manifest.name,
            folder=str(bundle.folder),
            model_bytes=bundle.model_bytes,
            accuracy=bundle.manifest.accuracy,
            parity=bundle.manifest.parity,
        )
        for bundle in bundles
    ]
    outcome = ExportOutcome(run=str(run.path), bundles=made, ships=shipping, remarks=run.remarks())
    content = as_dict(outcome)
    shown: list[Any] = [table_of("Bundles", columns, rows)]
    if shipping:
        shown += shown_of_shipping(shipping)
    return Outcome(content, shown)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _error(relative: float | None) -> str:
    return number(None, 0) if relative is None else f"{relative:.1e}"


def _has_shipping(run: RunFolder, folders: list[Path]) -> bool:
    """Whether what ships was chosen among these very bundles."""
    if not run.shipping_path.exists():
        return False
    chosen = read_shipping(run.shipping_path).chosen
    return chosen in {folder.name for folder in folders}
