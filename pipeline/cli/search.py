"""compress search: the front of accuracy against latency, and the one of it to ship."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli._app import JsonOption, SetOption, TrustOption, app, present
from pipeline.cli._completion import complete_recipe, complete_run
from pipeline.cli._options import METRIC_HELP, RecipeOption, recipe_changes, with_recipe
from pipeline.cli._recipes import recipe_file

_WORDS = """
Limits of --pick:  latency_p50, latency_p90, latency_p95, latency_p99 (ms), size (MB), memory (MiB),
energy (J), accuracy (%), accuracy_drop (points below the teacher), metric (in its own unit);
<= < >= >; several with "and".

Exit codes:  0 done  ·  25 no trial surely keeps what was asked of the one to ship.

Examples:  compress search digits-search  ·
compress search digits-search --trials 30 --jobs 2 --storage postgresql://me@host/search  ·
compress search mine.toml --target rpi --host ssh://pi@kitchen  ·
compress search runs/digits-search --front  ·
compress search --pick "latency_p95<=20ms and size<=2MB"
"""


def _complete(incomplete: str) -> list[str]:
    return [*complete_recipe(incomplete), *complete_run(incomplete)]


@app.command(
    cls=with_recipe(
        RecipeOption("export.targets"),
        RecipeOption("bench.host"),
        RecipeOption("search.trials"),
        RecipeOption("metric", help=METRIC_HELP),
        RecipeOption("search.jobs"),
        RecipeOption("search.storage"),
        RecipeOption("search.seed"),
    ),
    epilog=_WORDS,
)
def search(
    ctx: typer.Context,
    recipe: Annotated[
        Path | None,
        typer.Argument(
            metavar="RECIPE|RUN",
            help="A TOML file, the name of a recipe that ships, or the folder of a search; with "
            "--front and --pick the search used last under runs/ when left out.",
            autocompletion=_complete,
        ),
    ] = None,
    front: Annotated[
        bool, typer.Option("--front", help="Search no further: show what was found so far.")
    ] = False,
    pick: Annotated[
        str | None,
        typer.Option(
            help="Search no further: say which bundle to ship that keeps these limits, and why.",
            metavar="LIMITS",
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            help="Folder of the search, to make or to go on with; runs/NAME if unset.",
            autocompletion=complete_run,
        ),
    ] = None,
    set: SetOption = None,
    trust_code: TrustOption = False,  # noqa: ARG001 - its callback takes it
    json: JsonOption = False,
) -> None:
    """Look for the best trades of accuracy against latency, size, memory and energy.

    Tries what the recipe's [search] lets vary; each trial is an ordinary run, trained, exported and
    measured. Run again, it goes on; run several times at once, on machines that share its folder
    too, all work on one search. Stopped at any moment, it leaves the front so far.
    """
    from foundation.errors import UsageError  # noqa: PLC0415
    from pipeline.commands.search import front_only, is_search, pick_only  # noqa: PLC0415

    if front and pick is not None:
        raise UsageError("--front shows all, and --pick chooses one; say one of them")
    if pick is not None:
        outcome, nothing = pick_only(recipe or run, pick)
        present(outcome, json)
        if nothing:
            raise nothing
        return
    if front:
        present(front_only(recipe or run), json)
        return
    if recipe is None:
        raise UsageError("name a recipe, or say --front or --pick about the search used last")
    from pipeline.recipe.file import load_recipe, parse_override  # noqa: PLC0415

    overrides = {**recipe_changes(ctx), **dict(map(parse_override, set or []))}
    goes_on = is_search(recipe)
    source = recipe / "recipe.toml" if goes_on else recipe_file(recipe)
    file = load_recipe(source, overrides)
    # After the recipe, so that a misspelt key is told of at once and not after importing torch.
    from pipeline.commands.search import search_only  # noqa: PLC0415

    present(search_only(file, source, overrides, run or (recipe if goes_on else None)), json)
