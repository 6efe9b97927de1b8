"""compress bench: measure bundles on a host."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pipeline.cli._app import JsonOption, RunArgument, app, present


@app.command(
    epilog="Examples:  compress bench  ·  "
    "compress bench runs/digits --bundle local-onnx-int8 --threads 1 --queries 2000",
)
def bench(
    run: RunArgument = None,
    host: Annotated[str | None, typer.Option(help="Where: local (bench.host).")] = None,
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
    queries: Annotated[
        int | None, typer.Option(help="Single images to time (bench.queries).")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="At most so long a bundle (bench.max_seconds).")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure a run's bundles: latency, throughput, memory, size, accuracy, parity.

    Each runtime works in a process of its own, and what precision really ran is read back.
    """
    from pipeline.measuring import bench_only  # noqa: PLC0415

    asked: dict[str, Any] = {
        "host": host,
        "threads": threads,
        "precision_hint": precision_hint,
        "queries": queries,
        "max_seconds": max_seconds,
    }
    given = {key: value for key, value in asked.items() if value is not None}
    outcome = bench_only(run, given, bundle)
    present(outcome, json)
