"""compress report: what the speed cost in accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli._app import JsonOption, app, present
from pipeline.cli._completion import complete_run


@app.command(
    epilog="Examples:  compress report runs/digits --open  ·  "
    "compress report runs/one runs/two  ·  compress report /mnt/runs/digits --out here"
)
def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Run folders, or the folder of a search; the run used last under runs/ when left "
            "out. Several runs are shown side by side.",
            autocompletion=complete_run,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where to write it; the run folder when left out, of several the folder that the "
            "first lies in.",
        ),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Serve the page on this machine alone, until Ctrl-C."),
    ] = False,
    port: Annotated[
        int, typer.Option(metavar="N", help="Of --serve; any that is free when left out.")
    ] = 0,
    images: Annotated[
        bool,
        typer.Option(
            "--images/--no-images",
            help="Put small pictures of the test images that flipped into the page.",
        ),
    ] = True,
    json: JsonOption = False,
) -> None:
    """Write report.html and report.md with its plots into the run folder, and show the table."""
    from pipeline.commands.report import report_only, report_several  # noqa: PLC0415

    paths = runs or []
    if len(paths) > 1:
        outcome, error = report_several(paths, out)
    else:
        outcome, error = report_only(paths[0] if paths else None, out, images=images)
    present(outcome, json)
    _show(Path(outcome.content["written"][0]), opens=open_, serves=serve, port=port)
    if error is not None:
        raise error


def _show(page: Path, *, opens: bool, serves: bool, port: int) -> None:
    if not (opens or serves):
        return
    from pipeline.commands.serving import open_page, serve_page  # noqa: PLC0415
    from pipeline.shown.console import progress_console  # noqa: PLC0415
    from pipeline.shown.words import safe  # noqa: PLC0415

    console = progress_console()

    def say(line: str) -> None:
        console.print(safe(line), soft_wrap=True)

    if serves:
        serve_page(page, port, say, opens=opens)
    else:
        open_page(page, say)
