"""Asked before a search begins: may code run, is the host right, does a trial make one bundle."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

from deploy_targets.hosts import open_host
from deploy_targets.targets import load_target
from foundation.errors import RecipeError, UsageError
from pipeline.exporting.export import requests_for
from pipeline.preflight.trust import check_code
from pipeline.recipe.file import RecipeFile
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.folder import Say
from pipeline.search.space import RecipeMaker, SearchSpace


def check_code_in(space: SearchSpace, file: RecipeFile, path: Path, say: Say) -> None:
    """See that somebody said yes to each network of the space that is code.

    Raises:
        UntrustedCodeError: when nobody did.
    """
    # What stands in the space nobody typed, whatever else was.
    source = replace(file.source, overridden=())
    for axis in space.axes:
        role, _, key = axis.key.partition(".")
        if key != "model" or role not in ("teacher", "student"):
            continue
        for model in filter(lambda value: ":" in str(value), axis.samples()):
            section = getattr(file.recipe, role).model_copy(update={"model": str(model)})
            recipe = file.recipe.model_copy(update={role: section})
            check_code(RecipeFile(recipe, source), path, say)


def check_host(recipe: Recipe) -> None:
    """Make sure that the host is there, and of the kind that bundles are made for.

    Raises:
        UsageError: when it is of another kind: its times would say nothing of the target.
        HostError: when it does not answer.
    """
    target, host = load_target(recipe.export.targets[0]), recipe.bench.host
    arch = open_host(host).facts().arch
    if target.arch != arch:
        raise UsageError(
            f"target {target.name} is {target.arch}, but host {host} is {arch}, whose latencies "
            "would say nothing of it; name the device with --host ssh://user@device, or search for "
            "this machine with --target local"
        )


def check_bundles(file: RecipeFile, space: SearchSpace, maker: RecipeMaker) -> None:
    """Make sure that each trial makes one bundle, whatever is drawn.

    Raises:
        RecipeError: when it could make several.
    """
    targets = file.recipe.export.targets
    if len(targets) > 1:
        raise RecipeError(
            f"{file.where('export', 'targets')}: a search is for one target, but got {targets}; "
            "name one with --target"
        )
    target = load_target(targets[0])
    axes = [axis for axis in space.axes if axis.key.startswith("export.")]
    for values in product(*(axis.samples() for axis in axes)):
        changes = {axis.key: value for axis, value in zip(axes, values, strict=True)}
        export = maker.recipe_at(changes).recipe.export
        requests = requests_for(target, export)
        if export.limit is not None or len(requests) > 1:
            kinds = ", ".join(f"{one.format} {one.precision}" for one in requests)
            raise RecipeError(
                f"{file.where('export')}: a trial has one bundle, but these are several: {kinds}; "
                "name one format and one precision, or let them vary: "
                'search.space."export.precisions" = ["fp32", "int8"]'
            )
