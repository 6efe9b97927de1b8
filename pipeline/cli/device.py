"""compress device: set up machines behind ssh, look at them, take away what was put there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli._app import JsonOption, app, present

if TYPE_CHECKING:
    from foundation.errors import CompressError
    from pipeline.shown.outcome import Outcome

device = typer.Typer(
    name="device",
    help="Set up machines behind ssh, so that `compress bench --host` can measure there.",
    epilog="Examples:  compress device setup --host ssh://pi@raspberrypi.local --target rpi4  ·  "
    "compress device check  ·  compress device clean --host ssh://pi@raspberrypi.local\n\n"
    "A host is ssh://user@host:port/folder; all but the host may be left out, and your ssh config, "
    "agent and known hosts hold ($COMPRESS_SSH_CONFIG names another config). Nothing is asked.",
    no_args_is_help=True,
)
app.add_typer(device)

HostOption = Annotated[
    list[str] | None,
    typer.Option("--host", metavar="URL", help="ssh://user@host:port/folder; may be repeated."),
]
FleetOption = Annotated[
    Path | None, typer.Option("--fleet", help="A TOML file that names hosts (docs/devices.md).")
]
TargetOption = Annotated[
    str | None, typer.Option("--target", help="Device class, or path of a profile.")
]


@device.command(
    epilog="Exit codes:  0 all is there  ·  18 the device's disk is full  ·  21 it cannot be "
    "reached, or a runtime cannot be had for it.\n\n"
    "Examples:  compress device setup --host ssh://pi@raspberrypi.local --target rpi4  ·  "
    "compress device setup --host ssh://pi4 --runtime onnxruntime==1.20.1  ·  "
    "compress device setup --fleet fleet.toml --wheels wheels/"
)
def setup(
    host: HostOption = None,
    fleet: FleetOption = None,
    target: TargetOption = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[==VERSION]",
            help="This runtime, and not those of the target; may be repeated.",
        ),
    ] = None,
    wheels: Annotated[
        Path | None, typer.Option(help="A folder of wheels for the device: nothing is fetched.")
    ] = None,
    from_here: Annotated[
        bool,
        typer.Option("--from-here", help="Send wheels even if the device's own pip could fetch."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Put numpy, a runtime and our measuring code into one folder on a device.

    It needs Python 3.11 or newer there, no pip, no root and no network. Called again, it does what
    is missing.
    """
    from foundation.errors import UsageError  # noqa: PLC0415
    from pipeline.commands.device import set_up  # noqa: PLC0415
    from pipeline.commands.fleet import chosen_hosts  # noqa: PLC0415
    from pipeline.shown.console import progress_console  # noqa: PLC0415

    hosts = chosen_hosts(host or [], fleet)
    if not hosts:
        raise UsageError("no device is named; name one with --host or --fleet")
    console = progress_console()
    _end(set_up(hosts, target, runtime or [], wheels, console, from_here=from_here), json)


@device.command(
    name="list", epilog="Examples:  compress device list  ·  compress device list --json"
)
def list_(json: JsonOption = False) -> None:
    """List the devices that were set up from here, as they were then."""
    from pipeline.commands.device import list_known  # noqa: PLC0415

    present(list_known(), json)


@device.command(
    epilog="Exit codes:  0 all is right  ·  21 a device cannot be reached, or has a problem.\n\n"
    "Examples:  compress device check  ·  "
    "compress device check --host ssh://pi4 --target rpi4 --bundle rpi4-onnx-int8.bundle"
)
def check(
    host: HostOption = None,
    fleet: FleetOption = None,
    target: TargetOption = None,
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle that it should run, a folder or packed.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Look at devices: link, Python, runtime, disk, clock, governor, throttling.

    Without a host, at all that were set up from here.
    """
    from pipeline.commands.device import check as carry_out  # noqa: PLC0415
    from pipeline.commands.device import named_or_known  # noqa: PLC0415
    from pipeline.commands.fleet import chosen_hosts  # noqa: PLC0415

    _end(carry_out(named_or_known(chosen_hosts(host or [], fleet)), target, bundle), json)


@device.command(
    epilog="Examples:  compress device clean --host ssh://pi4  ·  "
    "compress device clean --fleet fleet.toml --cache"
)
def clean(
    host: HostOption = None,
    fleet: FleetOption = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="Only the bundles and images that were brought.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Take away all that was ever put on a device, and forget it."""
    from foundation.errors import UsageError  # noqa: PLC0415
    from pipeline.commands.device import clean as carry_out  # noqa: PLC0415
    from pipeline.commands.fleet import chosen_hosts  # noqa: PLC0415

    hosts = chosen_hosts(host or [], fleet)
    if not hosts:
        raise UsageError("no device is named; name one with --host or --fleet")
    _end(carry_out(hosts, cache_only=cache), json)


def _end(result: tuple[Outcome, CompressError | None], json: bool) -> None:
    """Show what came of it, then fail as the first device did."""
    outcome, error = result
    present(outcome, json)
    if error is not None:
        raise error
