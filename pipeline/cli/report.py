"""compress report: what the speed cost in accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli._app import JsonOption, RunArgument, app, present


@app.command(
    epilog="Examples:  compress report runs/digits  ·  compress report /mnt/runs/digits --out here"
)
def report(
    run: RunArgument = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where to write them; the run folder when left out."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write report.html and report.md into the run folder, and show the table."""
    from pipeline.commands.report import report_only  # noqa: PLC0415

    outcome, error = report_only(run, out)
    present(outcome, json)
    if error is not None:
        raise error
