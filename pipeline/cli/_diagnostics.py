"""Options that every command takes, before its name or behind it: what to tell of the work, and
where. `Commands` gives them to all, so no command has to know of them.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from foundation import logs
from foundation.errors import UsageError
from pipeline.cli._parameters import parameters_of
from pipeline.run_folder.torchrun import leads

TRACEBACK = "COMPRESS_TRACEBACK"
PANEL = "Diagnostics"

logger = logging.getLogger(__name__)


class _Wishes:
    """What was said so far, before the command's name and behind it."""

    verbosity = 0
    quiet = False
    file: Path | None = None


def wants_traceback() -> bool:
    """Whether the traceback behind an error is to be shown."""
    return os.environ.get(TRACEBACK, "0") not in {"", "0"}


def begin() -> None:
    """Forget what an earlier command line of this process said."""
    _Wishes.verbosity, _Wishes.quiet, _Wishes.file = 0, False, None
    logs.stop()
    logs.be_quiet(False)


def start() -> None:
    """Begin to log as the command line says; called when all of it has been read.

    Raises:
        UsageError: when the file cannot be written, or quiet and verbose are both asked for.
    """
    if _Wishes.quiet and _Wishes.verbosity:
        raise UsageError("--quiet and --verbose are both asked for; leave out one of them")
    logs.be_quiet(_Wishes.quiet)
    # Of several processes of one command, one speaks; all may write.
    logs.start(_Wishes.verbosity if leads() else 0, _Wishes.file)
    if logger.isEnabledFor(logging.INFO):
        logger.info(
            "compress %s, Python %s, %s, in %s: %s",
            own_version(), platform.python_version(), platform.platform(), Path.cwd(),
            " ".join(sys.argv[1:]),
        )  # fmt: skip


def own_version() -> str:
    """The release of this program."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - for a log alone

    try:
        return version("edge-compress")
    except PackageNotFoundError:
        return "from its sources"


def _be_verbose(times: int) -> None:
    _Wishes.verbosity += times


def _be_quiet(quiet: bool) -> None:
    _Wishes.quiet = _Wishes.quiet or quiet


def _log_to(file: Path | None) -> None:
    _Wishes.file = file or _Wishes.file


def _show_tracebacks(shown: bool) -> None:
    if shown:
        os.environ[TRACEBACK] = "1"


def _options(
    verbose: Annotated[
        int,
        typer.Option(
            "-v",
            "--verbose",
            count=True,
            callback=_be_verbose,
            expose_value=False,
            show_default=False,
            rich_help_panel=PANEL,
            help="Tell on standard error what is done; -vv tells more, -vvv all that libraries "
            "tell too.",
        ),
    ] = 0,
    quiet: Annotated[
        bool,
        typer.Option(
            "-q",
            "--quiet",
            callback=_be_quiet,
            expose_value=False,
            rich_help_panel=PANEL,
            help="No progress and no remarks: results on standard output, and warnings and errors.",
        ),
    ] = False,
    log_file: Annotated[
        Path | None,
        typer.Option(
            "--log-file",
            metavar="FILE",
            callback=_log_to,
            expose_value=False,
            rich_help_panel=PANEL,
            help="Add to this file, with the time, all that is done.",
        ),
    ] = None,
    traceback: Annotated[
        bool,
        typer.Option(
            "--traceback",
            callback=_show_tracebacks,
            expose_value=False,
            rich_help_panel=PANEL,
            help=f"Show the whole traceback behind an error ({TRACEBACK}=1).",
        ),
    ] = False,
) -> None:
    """Takes the options that all commands have; see `options`."""


def options() -> list[Any]:
    """The parameters to add to a command, as the parser has them."""
    return parameters_of(_options)
