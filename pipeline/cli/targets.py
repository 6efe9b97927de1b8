"""compress targets: the device classes."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli._app import JsonOption, app, present


@app.command(
    epilog="Examples:  compress targets  ·  compress targets rpi  ·  "
    "compress targets my-board.toml\n\n"
    "Profiles of your own lie in $COMPRESS_TARGETS, or ~/.config/compress/targets (XDG).",
)
def targets(
    name: Annotated[
        str | None, typer.Argument(help="One target, or the path of a profile.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the targets, or show one whole: every fact with its source."""
    from pipeline.commands.catalogue import targets_table  # noqa: PLC0415

    present(targets_table(name), json)
