"""What a report says, gathered from a run folder; how it looks is decided elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deploy_targets.measurement import Measurement, read_measurement
from foundation.bundle import MANIFEST
from foundation.errors import MissingFileError
from foundation.files import read_json
from pipeline.data.facts import DataFacts, read_facts
from pipeline.gate import teacher_for, top1_percent
from pipeline.recipe import Recipe
from pipeline.runs import RunFolder


@dataclass(frozen=True)
class Headline:
    """The teacher and the bundle to ship, side by side.

    Attributes:
        speedup: median latency of the teacher over the student's, on one host.
        shrink: size of the teacher's model over the student's.
        drop: percentage points of top-1 below the teacher; negative when above.
    """

    student: Measurement
    teacher: Measurement
    speedup: float | None
    shrink: float
    drop: float | None


@dataclass(frozen=True)
class ReportContent:
    """All facts of a report.

    Attributes:
        stages: metrics of the stages, in order.
        teacher_training: metrics of the teacher's training; None when its weights were given.
        measurements: teachers first, then by name.
        exported: manifests by bundle name: parity and accuracy as exported.
        verdict: the gate's, or None when it was not asked.
    """

    name: str
    recipe: Recipe
    record: dict[str, Any]
    data: DataFacts
    stages: list[dict[str, Any]]
    teacher_training: dict[str, Any] | None
    measurements: list[Measurement]
    exported: dict[str, dict[str, Any]]
    verdict: dict[str, Any] | None
    headline: Headline | None


def gather(run: RunFolder) -> ReportContent:
    """Read a run folder.

    Raises:
        MissingFileError: when there is no trained student yet.
        CorruptFileError: when a file cannot be understood.
    """
    record = run.record()
    if "student" not in record.get("networks", {}):
        raise MissingFileError(f"{run.path}: no student yet to report on; run `compress distill`")
    measurements = sorted(
        map(read_measurement, run.measurement_paths()),
        key=lambda one: (one.bundle.role != "teacher", one.bundle.name, one.host.name),
    )
    verdict = read_json(run.verdict_path) if run.verdict_path.exists() else None
    teacher_metrics = run.teacher / "metrics.json"
    return ReportContent(
        name=record["name"],
        recipe=run.recipe(),
        record=record,
        data=read_facts(run.data),
        stages=_stages(run),
        teacher_training=read_json(teacher_metrics) if teacher_metrics.exists() else None,
        measurements=measurements,
        exported={folder.name: read_json(folder / MANIFEST) for folder in run.bundle_folders()},
        verdict=verdict,
        headline=_headline(measurements, verdict),
    )


def _stages(run: RunFolder) -> list[dict[str, Any]]:
    metrics = [read_json(path) for path in run.stages.glob("*/metrics.json")]
    return sorted(metrics, key=lambda stage: stage["index"])


def _headline(measurements: list[Measurement], verdict: dict[str, Any] | None) -> Headline | None:
    """The fastest student bundle, of those that keep the budget if any does, and its teacher."""
    students = [one for one in measurements if one.bundle.role == "student"]
    broken = {check["bundle"] for check in (verdict or {}).get("checks", []) if not check["passed"]}
    keeping = [one for one in students if one.bundle.name not in broken]
    candidates = [one for one in keeping or students if one.latency_ms.p50 is not None]
    if not candidates:
        return None
    student = min(candidates, key=lambda one: one.latency_ms.p50 or 0)
    teacher = teacher_for(student, measurements)
    if teacher is None:
        return None
    ours, theirs = top1_percent(student), top1_percent(teacher)
    fast, slow = student.latency_ms.p50, teacher.latency_ms.p50
    return Headline(
        student=student,
        teacher=teacher,
        speedup=slow / fast if fast and slow else None,
        shrink=teacher.bundle.model_bytes / student.bundle.model_bytes,
        drop=None if ours is None or theirs is None else theirs - ours,
    )
