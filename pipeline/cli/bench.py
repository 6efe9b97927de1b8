"""compress bench: measure bundles on a host."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foundation.errors import UsageError
from pipeline.cli._app import JsonOption, RunArgument, app, present
from pipeline.cli._completion import complete_bundle
from pipeline.cli._options import recipe_changes, with_recipe


@app.command(
    cls=with_recipe(
        section="bench",
        rare=[
            "precision_hint",
            "pin",
            "streams",
            "seed",
            "min_seconds",
            "throughput_batch",
            "rounds",
            "accuracy",
        ],
        out=["percentile"],
        metavars={"pin": "CORES", "against": "BUNDLE|BENCH.json", "sustain": "30m"},
    ),
    epilog="Examples:  compress bench  ·  "
    "compress bench runs/digits --bundle local-onnx-int8 --threads 1 --queries 2000  ·  "
    "compress bench runs/digits --scenario server --rate 20 --percentile 99.9  ·  "
    "compress bench runs/digits --pin auto --threads 2  ·  "
    "compress bench runs/digits --against last-release.bundle  ·  "
    "compress bench runs/digits --bundle local-onnx-int8 --per-layer  ·  "
    "compress bench runs/digits --bundle local-onnx-int8 --sustain 30m  ·  "
    "compress bench runs/digits --host ssh://pi@raspberrypi.local  ·  "
    "compress bench runs/digits --fleet fleet.toml  ·  "
    "compress bench runs/digits --submit submissions",
)
def bench(
    ctx: typer.Context,
    run: RunArgument = None,
    host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="local|URL",
            help="Where (bench.host): local, or ssh://user@host:port (`compress device setup` "
            "first); may be repeated, and several work at once.",
        ),
    ] = None,
    fleet: Annotated[
        Path | None,
        typer.Option(help="A TOML file that names hosts, all of them at once (docs/devices.md)."),
    ] = None,
    bundle: Annotated[
        list[str] | None,
        typer.Option(help="Only this bundle; may be repeated.", autocompletion=complete_bundle),
    ] = None,
    submit: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Also write a record of each valid measurement into this folder, to give away: "
            "device, figures, no names of machines or people (benchmarks/submissions).",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure a run's bundles: latency, throughput, memory, size, accuracy, parity.

    Each runtime works in a process of its own, and what precision really ran is read back. Every
    percentile stands with bounds of 99 %, and none that its queries do not carry. A measurement is
    valid, or suspect, and then it says why. If it is cut short, the same command goes on with what
    was measured until then.
    """
    from pipeline.commands.bench import bench_only  # noqa: PLC0415

    changes = recipe_changes(ctx)
    if host:
        changes["bench.host"] = host[0]
    if fleet or len(host or []) > 1:
        from pipeline.commands.fleet import bench_fleet, chosen_hosts  # noqa: PLC0415

        if submit:
            raise UsageError("--submit takes the measurements of one host; name one with --host")
        outcome, error = bench_fleet(run, chosen_hosts(host or [], fleet), changes, bundle)
        present(outcome, json)
        if error is not None:
            raise error
        return
    outcome, ended_by = bench_only(run, changes, bundle, submit)
    present(outcome, json)
    if ended_by is not None:
        raise ended_by
