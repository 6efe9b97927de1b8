"""compress recipes: those that ship with the program."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli._app import JsonOption, app, present


@app.command(
    epilog="Examples:  compress recipes  ·  compress recipes digits > mine.toml",
)
def recipes(
    name: Annotated[str | None, typer.Argument(help="One recipe, to be shown whole.")] = None,
    json: JsonOption = False,
) -> None:
    """List the recipes that ship with the program, or show one whole, to begin your own with."""
    from pipeline.commands.catalogue import recipes_table  # noqa: PLC0415

    present(recipes_table(name), json)
