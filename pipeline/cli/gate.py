"""compress gate: stop a slow or inaccurate model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli._app import JsonOption, RunArgument, app, present

_METRICS = """
Metrics:  latency_p50_ms, latency_p90_ms, latency_p95_ms, latency_p99_ms, throughput_ips,
peak_memory_mb, size_mb, top1_percent, drop_vs_teacher_points, speedup_vs_teacher.

Exit codes:  0 every limit is kept  ·  1 a limit is broken, or its figure was not measured  ·
2 wrong use or bad input.

Examples:  compress gate  ·  compress gate runs/digits --bundle local-onnx-int8  ·
compress gate runs/digits --budget budget.toml
"""


@app.command(epilog=_METRICS)
def gate(
    run: RunArgument = None,
    budget: Annotated[
        Path | None,
        typer.Option(help="TOML file with [limits]; the recipe's [gate] when left out."),
    ] = None,
    bundle: Annotated[
        list[str] | None,
        typer.Option(help="Judge only this bundle; may be repeated (gate.bundles)."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Hold a run's measurements against a budget; the exit code is the verdict."""
    from foundation.errors import CompressError, UsageError  # noqa: PLC0415
    from pipeline.measuring import gate_only  # noqa: PLC0415

    try:
        outcome = gate_only(run, budget, bundle)
    except CompressError as error:
        # A release pipeline tells three answers apart; the kinds of bad input are one of them.
        raise UsageError(str(error)) from error
    present(outcome, json)
    raise typer.Exit(0 if outcome.passed else 1)
