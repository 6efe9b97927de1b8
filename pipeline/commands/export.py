"""`compress export`: bundles of a run's student; `adopt` has those of a network from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from foundation.bundle import AnyBundle, open_any_bundle
from foundation.errors import RecipeError
from foundation.records import as_dict
from pipeline.commands.outcomes import BundleMade, ExportOutcome
from pipeline.data.facts import FACTS, read_facts
from pipeline.data.sample_files import holds_graph
from pipeline.exporting.choice import read_shipping
from pipeline.exporting.export import export, export_teacher
from pipeline.exporting.ship import ShippingWatch, ship
from pipeline.preflight.trust import check_code
from pipeline.recipe.file import RecipeFile, load_recipe
from pipeline.recipe.sections.recipe import Recipe
from pipeline.report.terminal import shown_of_shipping
from pipeline.run_folder.folder import RunFolder, open_run
from pipeline.run_folder.records import check_manifest_facts
from pipeline.shown.console import at_work, progress_console, remarks_on
from pipeline.shown.graphs import graph_rows
from pipeline.shown.outcome import Outcome, table_of
from pipeline.shown.trials import shipping_display
from pipeline.shown.words import number

if TYPE_CHECKING:
    from pipeline.metrics.judging import NamedMetric


def export_only(path: Path | None, changes: Mapping[str, Any]) -> Outcome:
    """Bundles of a run's student.

    Args:
        path: the run folder; None takes the one used last.
        changes: what the command line gave of the recipe, by place.
    """
    console = progress_console()
    run = open_run(path, remarks_on(console))
    file = load_recipe(run.recipe_path, changes)
    check_code(file, run.path, remarks_on(console))
    from pipeline.preflight.names import check_names  # noqa: PLC0415 - torch

    recipe = file.recipe
    check_names(RecipeFile(recipe))
    with run.locked():
        folders = export_shown(run, recipe, console)
    return bundle_outcome(run, folders)


def export_shown(run: RunFolder, recipe: Recipe, console: Console) -> list[Path]:
    """The bundles that are asked for, or those from which the one that ships was chosen.

    Raises:
        RecipeError: when a metric is to be told, and the images have no labels.
    """
    check_metric(run, recipe)
    metric = _metric_for(recipe)

    with at_work(console, "export: got ready") as work:

        def say(line: str) -> None:
            work.now = f"export: {line}"
            console.print(f"  {escape(line)}")

        if holds_graph(run.data):
            from pipeline.exporting.graphs import export_graphs  # noqa: PLC0415 - for these alone

            return export_graphs(run, recipe.export, say)
        if recipe.export.limit is None:
            return export(run, recipe.export, say, metric=metric)
        with shipping_display(console, recipe.export.max_trials) as (on_trial, on_round):
            watch = ShippingWatch(say, on_trial, on_round)
            folders = ship(run, recipe.export, recipe.bench, watch, metric)
        if recipe.export.teacher:
            folders += export_teacher(run, recipe.export, say, metric)
        return folders


def _metric_for(recipe: Recipe) -> NamedMetric | None:
    """The recipe's metric, where it has one.

    Raises:
        RecipeError: when what it may lose is left open, and it has a unit of its own.
    """
    if recipe.metric is None:
        return None
    if recipe.export.limit is not None and recipe.export.max_drop is None and ":" in recipe.metric:
        raise RecipeError(
            f"metric {recipe.metric} has a unit of its own, in which nobody said what lower "
            "precision may cost; say it with --max-drop (export.max_drop)"
        )
    from pipeline.metrics.judging import load_metric  # noqa: PLC0415 - only where one is used

    return load_metric(recipe.metric, "metric")


def check_metric(run: RunFolder, recipe: Recipe) -> None:
    """Make sure that a metric can be told where it is asked for; errors as `export_shown`."""
    if not (run.data / FACTS).is_file() or read_facts(run.data).has_labels:
        return
    if recipe.metric is not None:
        raise RecipeError(
            f"{run.path}: its images have no labels, so metric {recipe.metric} has nothing to go "
            "by; leave it out, or give images with labels"
        )


def bundle_outcome(run: RunFolder, folders: list[Path]) -> Outcome:
    """What is told of bundles that were made, or found made."""
    bundles = [open_any_bundle(folder) for folder in folders]
    for bundle in bundles:
        check_manifest_facts(bundle.folder, bundle.manifest)
    of_graph = holds_graph(run.data)
    columns, rows = graph_rows(bundles) if of_graph else _classifier_rows(bundles)
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


def _classifier_rows(bundles: Sequence[AnyBundle]) -> tuple[list[str], list[list[str]]]:
    rows = [
        [
            bundle.manifest.name,
            f"{bundle.model_bytes / 1e3:,.0f}",
            number(_percent(bundle.manifest.accuracy.get("top1")), 2),
            _error(bundle.manifest.parity.get("relative_error")),
            number(_percent(_compared(bundle.manifest.parity).get("top1_agreement")), 1),
            str(bundle.folder),
        ]
        for bundle in bundles
    ]
    return ["bundle", "kB", "test top-1 %", "relative error", "same top-1 %", "folder"], rows


def _compared(parity: Mapping[str, Any]) -> Mapping[str, Any]:
    """How often a bundle names the class that it should: on the probe images, or on those without
    labels, which are more."""
    return parity.get("unlabelled") or parity


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
