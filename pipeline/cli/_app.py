"""The application that all commands register on, and the options that several share."""

from __future__ import annotations

import os
import sys
from json import dump
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli._completion import complete_key, complete_run
from pipeline.cli._leaving import Commands
from pipeline.run_folder.torchrun import leads

if TYPE_CHECKING:
    from pipeline.shown.outcome import Outcome

EXIT_CODES = """
Exit codes:  0 done, gate passed ·  1 gate failed ·  2 wrong use ·  3 gate inconclusive ·
10 missing file ·  11 error in the recipe ·  12 unknown name ·  13 dataset layout ·
14 unreadable image ·
15 weights do not fit ·  16 corrupt file ·  17 run folder of another recipe or data ·
18 disk full ·
19 model cannot be used ·  20 export failed ·  21 host or runtime failed ·
22 run folder in use ·  23 training diverged ·  24 code that nobody said yes to ·
25 no trial qualifies ·
9 other ·  70 a fault of this program ·  130 interrupted
"""

app = typer.Typer(
    name="compress",
    cls=Commands,
    help="From an accurate image classifier to a small, fast, verified model for an edge "
    "device.\n\n"
    "The whole road in one command:  [bold]compress run digits[/bold]",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RunArgument = Annotated[
    Path | None,
    typer.Argument(
        help="A run folder; the one used last under runs/ when left out.",
        autocompletion=complete_run,
    ),
]
RunOption = Annotated[
    Path | None,
    typer.Option(
        "--run",
        help="Run folder to make or go on with; runs/NAME if unset.",
        autocompletion=complete_run,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Any key of the recipe: --set stages.0.epochs=5",
        metavar="KEY=VALUE",
        autocompletion=complete_key,
    ),
]


def _trust(trusted: bool) -> None:
    if trusted:
        os.environ["COMPRESS_TRUST_CODE"] = "1"


TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        callback=_trust,
        help="Run the code that a recipe's module:function names, without asking "
        "(COMPRESS_TRUST_CODE=1).",
    ),
]


def present(outcome: Outcome, json: bool) -> None:
    """Show a result: to a machine as JSON, to a person as tables; one of several processes does."""
    if not leads():
        return
    if json:
        dump(outcome.content, sys.stdout, indent=2, allow_nan=False)
        sys.stdout.write("\n")
    else:
        outcome.show()
