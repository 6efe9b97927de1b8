"""compress estimate: what a bundle may take on a device that is not at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli._app import JsonOption, RunArgument, app, present


@app.command(
    epilog="Examples:  compress estimate runs/digits --target rpi4  ·  "
    "compress estimate runs/digits --target local --threads 1 --calibrate runs/cifar10",
)
def estimate(
    target: Annotated[str, typer.Option(help="Device class, or path of a profile.")],
    run: RunArgument = None,
    bundle: Annotated[
        list[str] | None, typer.Option(help="Only this bundle; may be repeated.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of the runtime; the profile's if unset.", min=1)
    ] = None,
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(help="Another run, measured on the same kind of core; may be repeated."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compute a bundle's latency on a target, without the device: an estimate, no measurement.

    From the operations and bytes of its graph and the target's peak rates (a roofline), fitted to
    what was measured on the same kind of core, if anything was. It is kept as
    bench/BUNDLE@estimate-TARGET.json, and no gate takes it for a measurement.
    """
    from pipeline.commands.estimate import estimate_only  # noqa: PLC0415

    present(estimate_only(run, target, bundle, threads, calibrate or []), json)
