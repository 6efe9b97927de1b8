"""compress run: the whole road."""

from __future__ import annotations

import typer

from pipeline.cli._app import JsonOption, RunOption, SetOption, TrustOption, app, present
from pipeline.cli._options import RecipeOption, recipe_changes, with_recipe
from pipeline.cli._recipes import RecipeArgument, recipe_file


@app.command(
    cls=with_recipe(RecipeOption("engine.log", "log"), out=["log"]),
    epilog="Examples:  compress run digits --set stages.0.epochs=5  ·  compress run mine.toml",
)
def run(
    ctx: typer.Context,
    recipe: RecipeArgument,
    run: RunOption = None,
    set: SetOption = None,
    trust_code: TrustOption = False,  # noqa: ARG001 - its callback takes it
    json: JsonOption = False,
) -> None:
    """Walk the whole road: teacher, distillation, export, quantisation, bench, report, gate.

    Run again, it goes on where it stopped. Ends with the gate's exit code: 0 within the
    budget, 1 beyond it, 3 when the measurements cannot tell.
    """
    from pipeline.recipe.file import load_recipe, parse_override  # noqa: PLC0415

    changes = {**recipe_changes(ctx), **dict(map(parse_override, set or []))}
    file = load_recipe(recipe_file(recipe), changes)
    # After the recipe, so that a misspelt key is told of at once and not after importing torch.
    from pipeline.commands.run import walk  # noqa: PLC0415

    outcome = walk(file, run)
    present(outcome, json)
    raise typer.Exit(outcome.exit_code)
