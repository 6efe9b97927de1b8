"""compress runs: what lies under runs/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli._app import JsonOption, app, present
from pipeline.cli._completion import complete_run

runs = typer.Typer(
    name="runs",
    help="List runs and studies, show one, compare several, tag and remove them.",
    epilog="Examples:  compress runs list  ·  compress runs show runs/digits  ·  "
    "compress runs compare runs/digits runs/smaller  ·  compress runs tag runs/digits v1.2  ·  "
    "compress runs remove runs/smaller",
    no_args_is_help=True,
)
app.add_typer(runs)

RunArgument = Annotated[Path, typer.Argument(help="A run folder.", autocompletion=complete_run)]


@runs.command(
    name="list",
    epilog="Examples:  compress runs list  ·  compress runs list --tag v1.2 --json",
)
def list_(
    root: Annotated[
        Path | None, typer.Argument(help="The folder that they lie in; runs/ when left out.")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Only runs with this tag.")] = None,
    json: JsonOption = False,
) -> None:
    """List runs and studies: networks, accuracy, what ships, the gate's word, size on disk."""
    from pipeline.commands.runs import list_runs  # noqa: PLC0415

    present(list_runs(root, tag), json)


@runs.command(epilog="Examples:  compress runs show  ·  compress runs show runs/digits --json")
def show(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="A run folder; the one used last when left out.", autocompletion=complete_run
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show one run: what it was made of, its steps, and what its report says."""
    from pipeline.commands.runs import show_run  # noqa: PLC0415

    present(show_run(run), json)


@runs.command(epilog="Example:  compress runs compare runs/digits runs/smaller --all")
def compare(
    run: Annotated[
        list[Path], typer.Argument(help="Two or more run folders.", autocompletion=complete_run)
    ],
    everything: Annotated[
        bool, typer.Option("--all", help="Also what is the same in all of them.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Put runs side by side: figures and keys of the recipe in which they differ."""
    from pipeline.commands.runs import compare_runs  # noqa: PLC0415

    present(compare_runs(run, everything=everything), json)


@runs.command(
    epilog="Examples:  compress runs tag runs/digits v1.2 shipped  ·  "
    "compress runs tag runs/digits shipped --remove"
)
def tag(
    run: RunArgument,
    word: Annotated[list[str], typer.Argument(help="Tags: words without spaces.")],
    remove: Annotated[bool, typer.Option("--remove", help="Take them away.")] = False,
    json: JsonOption = False,
) -> None:
    """Give a run tags, by which `compress runs list --tag` finds it."""
    from pipeline.commands.runs import tag_run  # noqa: PLC0415

    present(tag_run(run, word, remove=remove), json)


@runs.command(
    epilog="Exit codes:  0 it is gone  ·  2 nobody said yes, or it holds what no command made  ·  "
    "10 no run lies there  ·  22 another process works in it.\n\n"
    "Example:  compress runs remove runs/smaller --yes"
)
def remove(
    run: RunArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: JsonOption = False,
) -> None:
    """Delete a run or a study with all that is in it, after asking."""
    import sys  # noqa: PLC0415

    from foundation.errors import UsageError  # noqa: PLC0415
    from pipeline.commands.runs import removable, remove_run  # noqa: PLC0415

    found = removable(run)
    if not yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError(f"{run}: not removed, for nobody is here to ask; say --yes")
        question = f"Remove {run} ({found.bytes / 1e6:,.1f} MB)?"
        if not typer.confirm(question, err=True):
            raise UsageError(f"{run}: not removed, as you said")
    present(remove_run(found), json)
