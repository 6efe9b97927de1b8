"""compress models: the networks."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli._app import JsonOption, app, present


@app.command(
    epilog="Examples:  compress models  ·  compress models 'wrn*'  ·  "
    "compress models torchvision/  ·  compress models 'timm/vit*'"
)
def models(
    pattern: Annotated[
        str | None,
        typer.Argument(help="Which: a name or pattern; LIBRARY/ or LIBRARY/PATTERN."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the registered models, or a library's with the names of their pretrained weights."""
    from pipeline.commands.catalogue import models_table  # noqa: PLC0415

    present(models_table(pattern), json)
