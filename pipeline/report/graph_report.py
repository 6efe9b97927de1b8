"""The report of a run whose student is a graph that is no classifier: parity output by output where
a classifier's has accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy_targets.measurement import Measurement, read_measurement, scenario_words
from foundation.bundle import GraphManifest, read_manifest
from foundation.errors import MissingFileError
from foundation.files import write_text
from foundation.output_agreement import OutputAgreement
from foundation.places import without_folders
from pipeline.gating.evidence import is_current
from pipeline.gating.verdict import Verdict, read_verdict
from pipeline.gating.vouching import Vouching
from pipeline.report.looked_into import LookedIntoPlots, plots_of
from pipeline.report.looks import read_profiles, read_series
from pipeline.report.tables import Words
from pipeline.report.write import PAGE, SUMMARY, report_named
from pipeline.run_folder.folder import RunFolder
from pipeline.run_folder.records import check_manifest_facts
from pipeline.shown.graphs import agreements_in
from pipeline.shown.pages import html_templates_of, markdown_templates_of
from pipeline.shown.pages.plots import plotting_script, script_data
from pipeline.shown.words import number

_OUTPUT_HEADS = [
    "output", "same shape", "largest error", "of its spread", "signal over error dB", "cosine",
    "equal %",
]  # fmt: skip


@dataclass(frozen=True)
class GraphReport:
    """What such a report says.

    Attributes:
        name: of the run.
        adopted: the file that the graph came in.
        remarks: what steps decided by looking or left out, by the step's name.
        bundles: their manifests, by name.
        measurements: of bundles that are as they were measured.
        verdict: the gate's, or None.
        unvouched: files that are not as the run made them, a line each.
        outdated: names of bundles that were exported anew since they were measured.
        looked_into: plots of operators, and of bundles at work for long.
    """

    name: str
    adopted: str
    remarks: dict[str, list[str]]
    bundles: dict[str, GraphManifest]
    measurements: list[Measurement]
    verdict: Verdict | None
    unvouched: list[str]
    outdated: list[str]
    looked_into: LookedIntoPlots


def gather_graph(run: RunFolder) -> GraphReport:
    """Read a run folder.

    Raises:
        MissingFileError: when there is no bundle yet.
        CorruptFileError: when a file cannot be understood.
    """
    record, bundles = run.record(), dict(_manifests(run))
    if not bundles:
        raise MissingFileError(f"{run.bundles}: no bundles yet; make some with `compress export`")
    measured = [read_measurement(path) for path in run.measurement_paths()]
    verdict = read_verdict(run.verdict_path) if run.verdict_path.exists() else None
    outdated = sorted({m.bundle.name for m in measured if not is_current(run, m.bundle)})
    if verdict is not None and any(check.bundle in outdated for check in verdict.checks):
        verdict = None
    return GraphReport(
        name=record["name"],
        adopted=record.get("adopted") or "a graph",
        remarks=run.remarks(),
        bundles=bundles,
        measurements=[m for m in measured if m.bundle.name not in outdated],
        verdict=verdict,
        unvouched=Vouching(run).doubts(),
        outdated=outdated,
        looked_into=plots_of(read_profiles(run), read_series(run)),
    )


def report_graph(run: RunFolder, content: GraphReport, folder: Path | None = None) -> list[Path]:
    """Write report.html and report.md.

    Args:
        run: the run folder.
        content: the figures.
        folder: where to write them; None takes the run folder.

    Raises:
        CompressError: when they cannot be written there.
    """
    place, shown = folder or run.path, _shown(content)
    html, markdown = (
        templates("pipeline.report").get_template(f"graph.{kind}.j2")
        for templates, kind in ((html_templates_of, "html"), (markdown_templates_of, "md"))
    )
    plots = {plot.id: plot.as_drawn() for plot in content.looked_into.plots}
    data = script_data({"plots": plots, "front": None})
    with report_named(place):
        page = html.render(**shown, page_data=data, plotting_script=plotting_script())
        write_text(place / PAGE, page)
        write_text(place / SUMMARY, markdown.render(**shown).rstrip() + "\n")
    return [place / PAGE, place / SUMMARY]


def graph_tables(content: GraphReport) -> dict[str, Words]:
    """The report's tables, by title."""
    tables = {"Bundles": _bundle_table(content), "Outputs, as exported": _exported(content)}
    if content.measurements:
        tables["Latency"] = _latencies(content.measurements)
        tables["Outputs on the device"] = _on_device(content.measurements)
    if content.verdict is not None:
        tables["Gate"] = _gate(content.verdict)
    return tables


def _manifests(run: RunFolder) -> Iterator[tuple[str, GraphManifest]]:
    for folder in run.bundle_folders():
        manifest = read_manifest(folder)
        if isinstance(manifest, GraphManifest):
            check_manifest_facts(folder, manifest)
            yield folder.name, manifest


def _shown(content: GraphReport) -> dict[str, Any]:
    verdict = content.verdict.verdict if content.verdict else None
    scored = any(manifest.accuracy for manifest in content.bundles.values())
    notes = [
        f"{step}: {without_folders(line)}"
        for step, lines in content.remarks.items()
        for line in lines
    ]
    doubts = [*content.unvouched, *(f"exported anew and not measured since: {name}"
                                    for name in content.outdated)]  # fmt: skip
    return {
        "content": content,
        "verdict": verdict,
        "scored": scored,
        "notes": notes,
        "doubts": doubts,
        "tables": graph_tables(content),
        "looked": content.looked_into,
    }


def _bundle_table(content: GraphReport) -> Words:
    heads = ["bundle", "precision", "runtime", "score", "points below the original"]
    rows = [
        [
            name,
            manifest.precision,
            str(manifest.runtime),
            number(next(iter(manifest.accuracy.get("scores", {}).values()), None), 4),
            number(manifest.accuracy.get("drop"), 2),
        ]
        for name, manifest in content.bundles.items()
    ]
    return Words(heads, rows)


def _exported(content: GraphReport) -> Words:
    rows = [
        [name, *_output_row(output)]
        for name, manifest in content.bundles.items()
        for output in agreements_in(manifest.parity)
    ]
    return Words(["bundle", *_OUTPUT_HEADS], rows)


def _on_device(measurements: Sequence[Measurement]) -> Words:
    rows = [
        [measurement.bundle.name, measurement.host.name, *_output_row(output)]
        for measurement in measurements
        for output in measurement.parity.outputs
    ]
    return Words(["bundle", "host", *_OUTPUT_HEADS], rows)


def _output_row(output: OutputAgreement) -> list[str]:
    errors = (output.max_abs_error, output.relative_error)
    return [
        output.name,
        f"{output.same_shape:.0%}",
        *(number(None, 0) if error is None else f"{error:.1e}" for error in errors),
        number(output.signal_to_noise_db, 1),
        number(output.cosine, 6),
        number(None if output.equal is None else 100 * output.equal, 2),
    ]


def _latencies(measurements: Sequence[Measurement]) -> Words:
    heads = ["bundle", "host", "scenario", "ran in", "p50 ms", "95 %", "queries", "validity"]
    rows = []
    for measurement in measurements:
        p50 = measurement.latency_ms.percentiles.get("p50")
        rows.append(
            [
                measurement.bundle.name,
                measurement.host.name,
                scenario_words(measurement.scenario),
                measurement.runtime.executed_precision.summary,
                number(p50.value if p50 else None, 3),
                f"{p50.low:.3f} to {p50.high:.3f}" if p50 else number(None, 0),
                f"{measurement.latency_ms.n:,}",
                measurement.validity.verdict,
            ]
        )
    return Words(heads, rows)


def _gate(verdict: Verdict) -> Words:
    rows = [
        [check.bundle, check.metric, check.limit_words, check.verdict, check.reason]
        for check in verdict.checks
    ]
    return Words(["bundle", "metric", "limit", "answer", "why"], rows)
