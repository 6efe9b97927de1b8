"""compress methods: the distillation methods."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli._app import JsonOption, app, present


@app.command(epilog="Examples:  compress methods  ·  compress methods rkd")
def methods(
    name: Annotated[str | None, typer.Argument(help="One method.")] = None,
    json: JsonOption = False,
) -> None:
    """List the distillation methods, or show one with its paper, formula and settings."""
    from pipeline.commands.catalogue import methods_table  # noqa: PLC0415

    present(methods_table(name), json)
