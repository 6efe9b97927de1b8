"""Export of a run whose student is a graph that is no classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy_targets.targets import load_target
from export.graph_requests import ROLE
from export.requests import BundleRequest, bundle_name
from foundation.errors import ExportError, RecipeError, UsageError
from pipeline.data.sample_files import (
    CALIBRATION,
    EVALUATION,
    PROBE,
    REFERENCE,
    read_arrays,
    read_graph_facts,
    read_sample_facts,
    read_samples,
)
from pipeline.exporting.export import (
    data_products,
    requests_for,
    step_name,
    weights_of,
)
from pipeline.exporting.scoring import scorer_named
from pipeline.recipe.code import code_identity
from pipeline.recipe.file import recipe_values
from pipeline.recipe.sections.export import AUTO, ExportRecipe
from pipeline.run_folder.folder import RunFolder
from pipeline.run_folder.target_profiles import remember_target

if TYPE_CHECKING:
    from export.graph_requests import GraphSource, Scoring


def export_graphs(run: RunFolder, recipe: ExportRecipe, say: Callable[[str], None]) -> list[Path]:
    """Make every bundle of a graph that is asked for; those made before from the same stay.

    A bundle of lower precision that fails its checks is left out with a remark where nobody asked
    for that precision by name, and ends the export where somebody did.

    Args:
        run: the run folder, with an adopted graph in it.
        recipe: targets, formats, precisions, the scorer.
        say: told what is being made.

    Returns:
        The bundles' folders.

    Raises:
        RecipeError: when one is to be chosen by its latency, or a limit is set that nothing tells.
        UsageError: when a target takes none of the asked formats or precisions, or the run kept no
            samples to score.
        ExportError: when a bundle does not agree with the graph, or scores too low.
    """
    _check(run, recipe)
    folders: list[Path] = []
    for name in recipe.targets:
        target = load_target(name)
        notes = remember_target(run, name, target)
        tolerated = recipe.tolerated_drop if recipe.max_drop is None else recipe.max_drop
        requests = [
            replace(request, tolerated_drop=tolerated) for request in requests_for(target, recipe)
        ]
        folders += _export_for(run, requests, recipe, say, notes)
    return folders


def _check(run: RunFolder, recipe: ExportRecipe) -> None:
    if recipe.precisions == [AUTO]:
        raise RecipeError(
            f"{run.path}: what ships is chosen among classifiers alone; name the precisions of a "
            "graph, or leave them out for all that the target takes"
        )
    if recipe.max_drop is not None and recipe.scorer is None:
        raise RecipeError(
            f"{run.path}: export.max_drop needs somebody who says what a graph is worth; give a "
            "scorer (--scorer), or leave max_drop out: each output is then held against the "
            "original's"
        )
    if recipe.scorer is not None and not (run.data / EVALUATION).is_file():
        raise UsageError(
            f"{run.path}: kept no samples to score, for there was no scorer when they were read; "
            "export the ONNX file again with --scorer, into a run folder of its own (--run)"
        )


def _export_for(
    run: RunFolder,
    requests: Sequence[BundleRequest],
    recipe: ExportRecipe,
    say: Callable[[str], None],
    notes: Sequence[str],
) -> list[Path]:
    """The bundles for one target."""
    depends_on: dict[str, Any] = {
        "requests": [recipe_values(request) for request in requests],
        "weights": weights_of(run, "student"),
        "data": data_products(run),
        "scorer": recipe.scorer and [recipe.scorer, code_identity(recipe.scorer)],
        "named": recipe.precisions,
    }
    with run.step(step_name(requests[0].target, "student"), **depends_on) as step:
        for note in notes:
            step.remark(note)
        folders = [run.bundles / bundle_name(ROLE, request) for request in requests]
        if step.needed:
            made = _make(run, requests, recipe, say, step.remark)
            files = [path for folder in made for path in folder.rglob("*") if path.is_file()]
            step.products = sorted(files)
    return [folder for folder in folders if folder.is_dir()]


def _make(
    run: RunFolder,
    requests: Sequence[BundleRequest],
    recipe: ExportRecipe,
    say: Callable[[str], None],
    remark: Callable[[str], None],
) -> list[Path]:
    from export.graph_bundling import make_graph_bundles  # noqa: PLC0415 - onnx, and it takes time

    def leave_out(request: BundleRequest, error: ExportError) -> None:
        _remove(run, bundle_name(ROLE, request))
        remark(f"left out: {error}")

    manifests = make_graph_bundles(
        _source(run, recipe),
        requests,
        run.bundles,
        say,
        on_remark=remark,
        on_failed=leave_out if recipe.precisions is None else None,
    )
    run.shipping_path.unlink(missing_ok=True)
    return [run.bundles / manifest.name for manifest in manifests]


def _remove(run: RunFolder, name: str) -> None:
    """An earlier bundle of that name is not of this graph."""
    import shutil  # noqa: PLC0415

    shutil.rmtree(run.bundles / name, ignore_errors=True)


def _source(run: RunFolder, recipe: ExportRecipe) -> GraphSource:
    from export.graph_requests import GraphSource  # noqa: PLC0415

    record, facts, outputs = run.record(), read_sample_facts(run.data), read_graph_facts(run.data)
    reference, probe = read_arrays(run.data / REFERENCE), read_samples(run.data / PROBE)
    return GraphSource(
        model=run.student_graph,
        inputs=facts.inputs,
        outputs=outputs.outputs,
        calibration=read_samples(run.data / CALIBRATION),
        probe=probe,
        reference={
            spec.name: [reference[f"outputs/{spec.name}/{at}"] for at in range(len(probe))]
            for spec in outputs.outputs
        },
        scoring=_scoring(run, recipe.scorer) if recipe.scorer else None,
        origin={
            "run": record["name"],
            "model": record["networks"]["student"]["model"],
            "dataset": facts.name,
            "weights_sha256": weights_of(run, "student"),
            "commit": record["commit"],
            "versions": record["versions"],
        },
    )


def _scoring(run: RunFolder, name: str) -> Scoring:
    from export.graph_requests import Scoring  # noqa: PLC0415

    return Scoring(name, scorer_named(name), read_samples(run.data / EVALUATION))
