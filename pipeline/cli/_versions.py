"""compress --version: this program's release and those of the libraries at work."""

from __future__ import annotations

import sys
from json import dump
from typing import Annotated, Any

import typer

from pipeline.cli._parameters import parameters_of
from pipeline.run_folder.torchrun import leads


def show_versions(*, as_json: bool) -> None:
    """Print them, a line each, or as JSON."""
    from foundation.records import as_dict  # noqa: PLC0415 - numpy
    from pipeline.commands.versions import versions  # noqa: PLC0415

    installed = versions()
    if not leads():
        return
    if as_json:
        dump(as_dict(installed), sys.stdout, indent=2, allow_nan=False)
        sys.stdout.write("\n")
        return
    print(f"compress {installed.compress or 'from its sources'}")
    print(f"python {installed.python}")
    print(f"platform {installed.platform}")
    for name, release in installed.libraries.items():
        print(f"{name} {release or '(not installed)'}")


def version_options() -> list[Any]:
    """The parameters that the program itself has beside its commands, as the parser has them."""
    return parameters_of(_options)


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Tell versions: of this program and of its libraries."),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="With --version: tell them as JSON.")
    ] = False,
) -> None:
    """Takes the options of the program itself; see `version_options`."""
