"""compress study: what stages, reference and weighting are worth."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli._app import JsonOption, RunOption, SetOption, TrustOption, app, present
from pipeline.cli._options import RecipeOption, recipe_changes, with_recipe
from pipeline.cli._recipes import RecipeArgument, recipe_file


@app.command(
    cls=with_recipe(
        RecipeOption("study.seeds"),
        RecipeOption("study.budget"),
        RecipeOption("study.jobs"),
        RecipeOption("study.teachers"),
        RecipeOption("study.results"),
        RecipeOption("study.scheduler"),
        rare=["teachers", "scheduler"],
        out=["results"],
    ),
    epilog="Examples:  compress study digits-study --seeds 8  ·  "
    "compress study digits-study --arms alone,kd,smskd-tcp --jobs 2  ·  "
    "compress study digits-study --set stages.0.epochs=40 --run runs/shorter "
    "--teachers runs/digits-study/teachers  ·  "
    "compress study digits-study --results docs/data/digits.jsonl  ·  "
    "compress study digits-study --scheduler tcp://head-node:8786",
)
def study(
    ctx: typer.Context,
    recipe: RecipeArgument,
    run: RunOption = None,
    arms: Annotated[
        str | None, typer.Option(help="Only these arms: alone,kd,smskd-tcp (study.arms).")
    ] = None,
    set: SetOption = None,
    trust_code: TrustOption = False,  # noqa: ARG001 - its callback takes it
    json: JsonOption = False,
) -> None:
    """Compare the recipe's stages with their methods alone, at once, and with other references.

    Every arm has the same first weights and data, and the same budget of epochs unless --budget
    says otherwise, over several seeds. Writes
    study.json, report.html and report.md. Run again, it goes on where it stopped, on another
    machine too where --results is kept; an arm that fails keeps no other from being trained.
    """
    from pipeline.recipe.file import load_recipe, parse_override  # noqa: PLC0415

    overrides = recipe_changes(ctx)
    if arms is not None:
        overrides["study.arms"] = [name.strip() for name in arms.split(",")]
    overrides.update(map(parse_override, set or []))
    file = load_recipe(recipe_file(recipe), overrides)
    # After the recipe, so that a misspelt key is told of at once and not after importing torch.
    from pipeline.study.study import study as carry_out  # noqa: PLC0415

    outcome, failed = carry_out(file, run)
    if outcome:
        present(outcome, json)
    if failed:
        raise failed
