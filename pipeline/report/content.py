"""What a report says, gathered from a run folder; how it looks is decided elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy_targets.comparison import read_comparison
from deploy_targets.estimating.estimate import Estimate, read_estimate
from deploy_targets.measurement import Measurement, read_measurement
from deploy_targets.operator_profile import OperatorProfile
from deploy_targets.sustained import Sustained
from foundation.errors import MissingFileError
from pipeline.data.facts import DataFacts, read_facts
from pipeline.exporting.choice import Shipping, read_shipping
from pipeline.gating.evidence import is_current
from pipeline.gating.verdict import Verdict, read_verdict
from pipeline.gating.vouching import Vouching
from pipeline.report.bundles import Exported, read_exported
from pipeline.report.gain import Gain, gain_of
from pipeline.report.headline import Headline, headline_of, host_to_show
from pipeline.report.looks import read_profiles, read_series
from pipeline.report.waterfall import (
    WaterfallStep,
    alone_step,
    bundle_steps,
    network_step,
    stage_steps,
)
from pipeline.run_folder.folder import RunFolder
from pipeline.run_folder.network_scores import NetworkScores, read_scores
from pipeline.run_folder.records import TrainingRecord, read_table
from pipeline.shown.measurements import plain_of
from smskd.fine_tuning.phase import HEAD

_METRICS, _WEIGHTS = "metrics.json", "weights.safetensors"


@dataclass(frozen=True)
class ReportContent:
    """All facts of a report.

    Attributes:
        remarks: what steps decided by looking or left out, by the step's name.
        networks: what run.json tells of the student and the teacher, as far as there are any.
        adopted: where the student comes from, if it was trained elsewhere.
        stages: metrics of the stages, in order.
        teacher_training: metrics of the teacher's training; None when its weights were given.
        head_training: those of its new head alone, before that; None without one.
        alone_training: those of the student that was trained alone on the labels, if one was.
        gain: what distillation gained over it.
        scores: class by class, of "teacher", "alone" and "student", as far as they were judged so.
        measurements: teachers first, then by name.
        estimates: what was computed for devices that were not at hand, by name.
        exported: bundles by name.
        shipping: which bundle ships and why; None when nobody asked for a choice.
        headline: the bundle to ship, measured.
        verdict: the gate's, or None when it was not asked since the last export.
        unvouched: measurements, estimates and comparisons that are not as the run made them, a line
            each; their figures are shown all the same.
        outdated: names of bundles that were exported anew since they were measured or estimated;
            those figures are left out.
        waterfall: from teacher to INT8, for one target, with the latencies of one host.
        host: that host; None when nothing was measured.
        operators: where the time of bundles goes, where that was asked for.
        sustained: bundles that were kept at work for long.
    """

    name: str
    record: dict[str, Any]
    remarks: dict[str, list[str]]
    data: DataFacts
    networks: dict[str, dict[str, Any]]
    adopted: str | None
    stages: list[dict[str, Any]]
    teacher_training: dict[str, Any] | None
    head_training: dict[str, Any] | None
    alone_training: dict[str, Any] | None
    gain: Gain | None
    scores: dict[str, NetworkScores]
    measurements: list[Measurement]
    estimates: list[Estimate]
    exported: dict[str, Exported]
    shipping: Shipping | None
    headline: Headline | None
    verdict: Verdict | None
    unvouched: list[str]
    outdated: list[str]
    waterfall: list[WaterfallStep]
    host: str | None
    operators: list[OperatorProfile] = field(default_factory=list)
    sustained: list[Sustained] = field(default_factory=list)

    @property
    def plain(self) -> list[Measurement]:
        """The measurements whose latency is that of one image after another, as a bundle runs
        where nothing else was asked for."""
        return plain_of(self.measurements)

    @property
    def has_student(self) -> bool:
        """Whether anybody has learned from the teacher, or been adopted."""
        return "student" in self.networks

    @property
    def shipped(self) -> str | None:
        """Name of the bundle to ship."""
        if self.shipping is not None:
            return self.shipping.chosen
        return None if self.headline is None else self.headline.shipped.bundle.name


def gather(run: RunFolder) -> ReportContent:
    """Read a run folder.

    Raises:
        MissingFileError: when there is neither a trained student nor a teacher yet.
        CorruptFileError: when a file cannot be understood.
    """
    record = run.record()
    networks = record.get("networks", {})
    if not networks:
        raise MissingFileError(
            f"{run.path}: no student yet to report on, and no teacher; run `compress distill` or "
            "`compress teach`"
        )
    measured = [read_measurement(path) for path in run.measurement_paths()]
    estimated = [read_estimate(path) for path in run.estimate_paths()]
    bundles_known = [m.bundle for m in measured] + [e.bundle for e in estimated]
    outdated = sorted({bundle.name for bundle in bundles_known if not is_current(run, bundle)})
    measurements = sorted(
        (measurement for measurement in measured if is_current(run, measurement.bundle)),
        key=lambda m: (m.bundle.role != "teacher", m.bundle.name, m.host.name),
    )
    folders = run.bundle_folders()
    exported = {folder.name: read_exported(folder, measurements) for folder in folders}
    stages = _stages(run)
    shipping = _shipping(run, exported)
    verdict = _verdict(run, outdated)
    plain = plain_of(measurements)
    comparisons = [read_comparison(path) for path in run.comparison_paths()]
    headline = headline_of(plain, comparisons, shipping, verdict)
    host = host_to_show(plain, shipping)
    latencies = _latencies(plain, shipping, host)
    alone = _training_in(run.alone) if "alone" in networks else None
    student_steps = _torch_steps(run, networks, stages, alone)
    bundles = _of_one_target(exported, shipping, headline)
    return ReportContent(
        name=record["name"],
        record=record,
        remarks=run.remarks(),
        data=read_facts(run.data),
        networks=networks,
        adopted=record.get("adopted"),
        stages=stages,
        teacher_training=_training_in(run.teacher),
        head_training=_training_in(run.teacher / HEAD),
        alone_training=alone,
        gain=gain_of(networks, alone),
        scores=_scores(run, networks),
        measurements=measurements,
        estimates=[estimate for estimate in estimated if is_current(run, estimate.bundle)],
        exported=exported,
        shipping=shipping,
        headline=headline,
        verdict=verdict,
        unvouched=Vouching(run).doubts(),
        outdated=outdated,
        waterfall=[*student_steps, *bundle_steps(bundles, student_steps[-1], latencies)],
        host=host or (shipping.measured_on if shipping else None),
        operators=read_profiles(run),
        sustained=read_series(run),
    )


def _verdict(run: RunFolder, outdated: Sequence[str]) -> Verdict | None:
    """The gate's word; None where it speaks of a bundle that is not there any more."""
    if not run.verdict_path.exists():
        return None
    verdict = read_verdict(run.verdict_path)
    return None if any(check.bundle in outdated for check in verdict.checks) else verdict


def _stages(run: RunFolder) -> list[dict[str, Any]]:
    metrics = [_training(path) for path in run.stages.glob(f"*/{_METRICS}")]
    return sorted(metrics, key=lambda stage: int(stage["index"]))


def _scores(run: RunFolder, networks: Mapping[str, Any]) -> dict[str, NetworkScores]:
    paths = {role: run.scores(role) for role in ("teacher", "alone", "student")}
    return {
        role: read_scores(path)
        for role, path in paths.items()
        if role in networks and path.is_file()
    }


def _training_in(folder: Path) -> dict[str, Any] | None:
    """Metrics of a training in a folder of its own; None where there was none."""
    path = folder / _METRICS
    return _training(path) if path.exists() else None


def _training(path: Path) -> dict[str, Any]:
    advice = "delete it and run `compress distill` again"
    return read_table(path, TrainingRecord, "the metrics of a training", advice)


def _shipping(run: RunFolder, exported: Mapping[str, Exported]) -> Shipping | None:
    """The record of what ships; None where it speaks of a bundle that is not there any more."""
    if not run.shipping_path.exists():
        return None
    shipping = read_shipping(run.shipping_path)
    return shipping if shipping.chosen in exported else None


def _torch_steps(
    run: RunFolder,
    networks: Mapping[str, Any],
    stages: Sequence[dict[str, Any]],
    alone: dict[str, Any] | None,
) -> list[WaterfallStep]:
    """Teacher, the student alone, stages and student, as far as there are any.

    The first stage is held against the student alone, which is what the teaching added to.
    """
    steps: list[WaterfallStep] = []
    if "teacher" in networks:
        weights = _bytes_in(run.teacher_graph) or _bytes_in(run.teacher / _WEIGHTS)
        steps.append(network_step("teacher", networks["teacher"], weights))
    if alone is not None:
        weights = _bytes_in(run.alone / _WEIGHTS)
        steps.append(alone_step(networks["alone"], alone, weights, steps[-1] if steps else None))
    folders = [run.stages / f"{stage['index']}-{stage['name']}" for stage in stages]
    sizes = [_bytes_in(folder / _WEIGHTS) for folder in folders]
    if "student" not in networks:
        return steps
    pruned = networks["student"].get("pruned", [])
    steps += stage_steps(
        list(zip(stages, sizes, strict=True)), steps[-1] if steps else None, pruned
    )
    weights = _bytes_in(run.student_graph) or _bytes_in(run.student)
    source = steps[-1] if steps else None
    return [*steps, network_step("student", networks["student"], weights, source)]


def _of_one_target(
    exported: Mapping[str, Exported], shipping: Shipping | None, headline: Headline | None
) -> list[Exported]:
    """The student's bundles for the target that is shipped to, or else the first."""
    bundles = [bundle for bundle in exported.values() if bundle.manifest.role == "student"]
    targets = sorted({bundle.manifest.target for bundle in bundles})
    if shipping is not None:
        targets.insert(0, shipping.target)
    elif headline is not None:
        targets.insert(0, headline.shipped.bundle.target)
    return [bundle for bundle in bundles if bundle.manifest.target == targets[0]]


def _latencies(
    measurements: Sequence[Measurement], shipping: Shipping | None, host: str | None
) -> dict[str, float]:
    """Median milliseconds by bundle: measured on the host, or while the choice was made there."""
    latencies = {c.bundle: c.p50_ms for c in shipping.candidates} if shipping else {}
    latencies |= {m.bundle.name: m.latency_ms.p50 for m in measurements if m.host.name == host}
    return {name: ms for name, ms in latencies.items() if ms is not None}


def _bytes_in(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
