"""compress bench: measure bundles on a host."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli._app import JsonOption, RunArgument, app, present


@app.command(
    epilog="Examples:  compress bench  ·  "
    "compress bench runs/digits --bundle local-onnx-int8 --threads 1 --queries 2000  ·  "
    "compress bench runs/digits --scenario server --rate 20 --percentile 99.9  ·  "
    "compress bench runs/digits --pin auto --threads 2  ·  "
    "compress bench runs/digits --against last-release.bundle  ·  "
    "compress bench runs/digits --host ssh://pi@raspberrypi.local  ·  "
    "compress bench runs/digits --fleet fleet.toml",
)
def bench(
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
        list[str] | None, typer.Option(help="Only this bundle; may be repeated.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of the runtime (bench.threads).")
    ] = None,
    precision_hint: Annotated[
        str | None,
        typer.Option(help="f32, or auto: the runtime's choice (bench.precision_hint)."),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="onnxruntime, openvino, or xnnpack where ONNX Runtime has it (bench.runtime)."
        ),
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(
            help="How queries come: single-stream (one after another), multi-stream (several at "
            "once), offline (all at once), server (at random, at --rate) (bench.scenario)."
        ),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Images in a query (bench.batch).")] = None,
    streams: Annotated[
        int | None, typer.Option(help="Queries at once: multi-stream, 2 (bench.streams).")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Queries a second on average, for server (bench.rate).")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the times at which they come, for server (bench.seed).")
    ] = None,
    throughput_batch: Annotated[
        int | None,
        typer.Option(help="Images a batch for the throughput (bench.throughput_batch)."),
    ] = None,
    pin: Annotated[
        str | None,
        typer.Option(
            metavar="CORES",
            help="Cores to run on: 0,1 or 0-3; auto: the fastest; any (bench.pin).",
        ),
    ] = None,
    percentile: Annotated[
        list[float] | None,
        typer.Option(
            help="A percentile to tell of, with as many queries as it needs; may be repeated "
            "(bench.percentiles)."
        ),
    ] = None,
    accuracy: Annotated[
        bool | None,
        typer.Option(
            "--accuracy/--no-accuracy", help="Also answer the test images (bench.accuracy)."
        ),
    ] = None,
    queries: Annotated[int | None, typer.Option(help="Queries to time (bench.queries).")] = None,
    min_seconds: Annotated[
        float | None, typer.Option(help="At least so long a bundle (bench.min_seconds).")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="At most so long a bundle (bench.max_seconds).")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="BUNDLE|BENCH.json",
            help="Also time the run's bundle in turns with this one, a folder or a packed file; or "
            "show its ratio to a stored measurement, which is not interleaved (bench.against).",
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(help="Rounds of turns, in fresh processes each (bench.rounds)."),
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

    asked: dict[str, Any] = {
        "host": host[0] if host else None,
        "threads": threads,
        "precision_hint": precision_hint,
        "runtime": runtime,
        "scenario": scenario,
        "batch": batch,
        "streams": streams,
        "rate": rate,
        "seed": seed,
        "throughput_batch": throughput_batch,
        "pin": pin,
        "percentiles": percentile or None,
        "accuracy": accuracy,
        "queries": queries,
        "min_seconds": min_seconds,
        "max_seconds": max_seconds,
        "against": against,
        "rounds": rounds,
    }
    given = {key: value for key, value in asked.items() if value is not None}
    if fleet or len(host or []) > 1:
        from pipeline.commands.fleet import bench_fleet, chosen_hosts  # noqa: PLC0415

        outcome, error = bench_fleet(run, chosen_hosts(host or [], fleet), given, bundle)
        present(outcome, json)
        if error is not None:
            raise error
        return
    outcome = bench_only(run, given, bundle)
    present(outcome, json)
