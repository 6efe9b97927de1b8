"""compress explain: what an exit code means."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli._app import JsonOption, app, present


@app.command(
    epilog="Examples:  compress explain  ·  compress explain 17  ·  compress explain disk-full  ·  "
    "compress explain $?",
)
def explain(
    code: Annotated[
        str | None, typer.Argument(help="An exit code, or its name; all when left out.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Say what an exit code means, what it usually comes of, and what to do."""
    from pipeline.commands.explain import explained  # noqa: PLC0415

    present(explained(code), json)
