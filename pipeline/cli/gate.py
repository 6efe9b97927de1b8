"""compress gate: stop a slow or inaccurate model."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli._app import JsonOption, app, present
from pipeline.cli._completion import complete_measured
from pipeline.cli._options import recipe_changes, with_recipe
from pipeline.run_folder.torchrun import leads

_WORDS = """
Metrics:  latency_pNN_ms of any percentile (latency_p50_ms, latency_p90_ms, latency_p95_ms,
latency_p99_ms, latency_p99_9_ms), sustained_latency_p95_ms (after bench --sustain),
throughput_ips, peak_memory_mb, steady_memory_mb, energy_j_per_image, startup_ms, size_mb,
top1_percent, teacher_agreement_percent, drop_vs_teacher_points, speedup_vs_teacher;
by classes recall.CLASS, precision.CLASS, f1.CLASS (percent), macro_recall_points,
macro_precision_points, macro_f1_points, worst_class_percent, worst_class_drop_points (below the
teacher); of a metric of your own, metric.NAME.
Of a graph that is no classifier: score, score.NAME, score_drop_points, and of each output
outputs.NAME.relative_error, .signal_to_noise_db, .equal_percent, .same_shape_percent; without
limits it is held to its scorer's, or else each output to what its precision is exported with.

Limits:  max, min, and max_regression in percent (an accuracy: in points, a metric of your own: in
its unit) against the "baseline", the "teacher" or the FP32 "student".

Answers:  pass when the whole confidence interval keeps the limit, fail when the whole is
beyond it or nothing was measured, inconclusive in between or when the measurement is suspect.

Exit codes:  0 every limit is kept  ·  1 a limit is broken, or its figure was not measured  ·
2 wrong use or bad input  ·  3 inconclusive: the measurements cannot tell.

Examples:  compress gate  ·  compress gate runs/digits --bundle local-onnx-int8  ·
compress gate runs/digits --budget budget.toml --baseline last.bundle --format github  ·
compress gate bench.json --budget budget.toml --baseline old.json --format junit > gate.xml  ·
compress gate runs/digits --on-inconclusive "retry 2"  ·
compress gate runs/digits --release v1.4  ·  compress gate --history
"""


class Format(StrEnum):
    """How a verdict is written."""

    table = "table"
    json = "json"
    markdown = "markdown"
    junit = "junit"
    github = "github"
    bmf = "bmf"


@app.command(
    cls=with_recipe(
        section="gate",
        without=["limits"],
        rare=["allow_estimate"],
        out=["format", "history", "history_file", "release"],
        metavars={"on_inconclusive": "report|pass|fail|'retry N'"},
    ),
    epilog=_WORDS,
)
def gate(
    ctx: typer.Context,
    measured: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN|BENCH.json",
            help="Run folders and files of measurements; the run used last when left out.",
            autocompletion=complete_measured,
        ),
    ] = None,
    budget: Annotated[
        Path | None,
        typer.Option(help=r"TOML file with \[limits]; the recipe's \[gate] when left out."),
    ] = None,
    format: Annotated[
        Format, typer.Option(help="For a person, a machine, a pull request or a CI system.")
    ] = Format.table,
    history: Annotated[
        bool,
        typer.Option(
            "--history",
            help="Judge nothing: show each metric over all releases that were judged, and what "
            "got slowly worse.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Hold measurements against a budget; the exit code is the verdict."""
    from foundation.errors import CompressError, UsageError  # noqa: PLC0415
    from pipeline.commands.gate import gate_only, history_shown  # noqa: PLC0415
    from pipeline.gating.formats import FORMATS, markdown  # noqa: PLC0415

    changes = {place.removeprefix("gate."): value for place, value in recipe_changes(ctx).items()}
    if "on_inconclusive" in changes:
        changes["on_inconclusive"] = _spelt_out(changes["on_inconclusive"])
    try:
        if history:
            shown = history_shown(measured or [], changes.get("history_file"))
            present(shown, json or format is Format.json)
            return
        verdict, outcome = gate_only(measured or [], budget, changes)
    except CompressError as error:
        # A release pipeline tells four answers apart; the kinds of bad input are one of them.
        raise UsageError(str(error)) from error
    if format.value in FORMATS and not json:
        if leads():
            # What a file names something need not be text that can be written.
            written = FORMATS[format.value](verdict).encode("utf-8", "replace")
            sys.stdout.flush()
            sys.stdout.buffer.write(written)
    else:
        present(outcome, json or format is Format.json)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if format is Format.github and summary:
        _add_to(Path(summary), markdown(verdict))
    raise typer.Exit(outcome.exit_code)


def _add_to(summary: Path, text: str) -> None:
    """Add to the page that GitHub shows of a step; the verdict stands without it too."""
    from pipeline.shown.console import progress_console  # noqa: PLC0415

    try:
        with summary.open("a", encoding="utf-8") as page:
            page.write(text)
    except OSError as error:
        reason = f"{summary}: the summary of the step could not be written: {error.strerror}"
        progress_console().warn(reason)


def _spelt_out(word: str) -> str:
    """ "retry", "retry:2" and "retry=2" as a recipe has them."""
    spelt = word.replace(":", " ").replace("=", " ")
    return "retry 1" if spelt == "retry" else spelt
