"""compress bundle: check a bundle, make one file of it, and a folder of such a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli._app import JsonOption, app, present

bundle = typer.Typer(
    name="bundle",
    help="Check a bundle, pack it into one file, unpack it.",
    epilog="Examples:  compress bundle verify runs/digits/bundles/local-onnx-int8  ·  "
    "compress bundle pack runs/digits/bundles/local-onnx-int8  ·  "
    "compress bundle unpack local-onnx-int8.bundle",
    no_args_is_help=True,
)
app.add_typer(bundle)

OutOption = Annotated[Path | None, typer.Option(help="Where to; beside it if unset.")]


@bundle.command(
    epilog="Exit codes:  0 all is right  ·  10 a file is missing  ·  16 changed or not a bundle  ·"
    "  19 the model answers otherwise here, or emulated  ·  21 it cannot be emulated.\n\n"
    "Examples:  compress bundle verify local-onnx-int8  ·  "
    "compress bundle verify local-onnx-int8.bundle --json  ·  "
    "compress bundle verify rpi4-onnx-int8 --emulate rpi4",
)
def verify(
    path: Annotated[Path, typer.Argument(help="A bundle's folder, or a packed bundle.")],
    emulate: Annotated[
        str | None,
        typer.Option(
            help="Have it answer as this ARM64 target too, under qemu-aarch64: what it answers, "
            "not how fast. Fetches a Debian userland and the runtime once.",
            metavar="TARGET",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check every file, the probe, and, where its runtime is installed, the model's own answers."""
    from pipeline.commands.bundle import verify as carry_out  # noqa: PLC0415
    from pipeline.shown.console import at_work, progress_console  # noqa: PLC0415

    console = progress_console()
    with at_work(console, f"verifying {path}"):
        outcome, failed = carry_out(path, emulate, console.print)
    present(outcome, json)
    if failed:
        raise failed


@bundle.command(
    epilog="Example:  compress bundle pack runs/digits/bundles/local-onnx-int8 --out send.bundle"
)
def pack(
    path: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Make one file, NAME.bundle, of a bundle; the same bundle gives the same bytes."""
    from pipeline.commands.bundle import pack_bundle  # noqa: PLC0415

    present(pack_bundle(path, out), json)


@bundle.command(epilog="Example:  compress bundle unpack local-onnx-int8.bundle --out model")
def unpack(
    file: Annotated[Path, typer.Argument(help="A packed bundle.")],
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Make a new folder of a packed bundle; it appears only if all in it is right."""
    from pipeline.commands.bundle import unpack_bundle  # noqa: PLC0415

    present(unpack_bundle(file, out), json)
