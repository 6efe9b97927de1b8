"""compress targets: the device classes."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli._app import JsonOption, app, present


@app.command(epilog="Examples:  compress targets  ·  compress targets rpi")
def targets(
    name: Annotated[
        str | None, typer.Argument(help="One target, or the path of a profile.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the targets, or show one whole."""
    from pipeline.catalogue import targets_table  # noqa: PLC0415

    present(targets_table(name), json)
