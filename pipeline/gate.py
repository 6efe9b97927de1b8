"""The gate: does what was measured keep the budget?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from deploy_targets.measurement import Measurement
from foundation.errors import MissingFileError, UsageError, unknown_name
from pipeline.recipe import GateRecipe, Limit

SCHEMA_VERSION = 1

Metric = Callable[[Measurement, Measurement | None], float | None]
"""A figure of a measurement, given the teacher's on the same host; None when it was not taken."""


@dataclass(frozen=True)
class Check:
    """One limit against one measurement.

    Attributes:
        value: what was measured; None when it was not.
        kind, limit: "max" or "min", and how much.
        passed: whether the value keeps the limit. What was not measured does not.
    """

    bundle: str
    host: str
    metric: str
    kind: Literal["max", "min"]
    limit: float
    value: float | None
    passed: bool

    @property
    def reason(self) -> str:
        """The verdict of this check in words."""
        if self.value is None:
            return "not measured"
        sign = "≤" if self.kind == "max" else "≥"
        return f"{self.value:.4g} {sign if self.passed else 'is not ' + sign} {self.limit:g}"


@dataclass(frozen=True)
class Verdict:
    """The gate's answer: pass, or fail when any check fails."""

    checks: list[Check]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """The verdict as JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "verdict",
            "verdict": "pass" if self.passed else "fail",
            "checks": [{**asdict(check), "reason": check.reason} for check in self.checks],
        }


def top1_percent(one: Measurement) -> float | None:
    """Top-1 accuracy on the test images, in percent."""
    return None if one.accuracy is None else 100 * one.accuracy.top1


def _drop(one: Measurement, teacher: Measurement | None) -> float | None:
    ours = top1_percent(one)
    theirs = None if teacher is None else top1_percent(teacher)
    return None if ours is None or theirs is None else theirs - ours


def _speedup(one: Measurement, teacher: Measurement | None) -> float | None:
    ours = one.latency_ms.p50
    theirs = None if teacher is None else teacher.latency_ms.p50
    return None if ours is None or theirs is None else theirs / ours


METRICS: Mapping[str, tuple[str, Metric]] = {
    "latency_p50_ms": ("median latency of a single image", lambda m, _: m.latency_ms.p50),
    "latency_p90_ms": ("90th percentile of it", lambda m, _: m.latency_ms.p90),
    "latency_p95_ms": ("95th percentile of it", lambda m, _: m.latency_ms.p95),
    "latency_p99_ms": ("99th percentile of it", lambda m, _: m.latency_ms.p99),
    "throughput_ips": ("images per second in batches", lambda m, _: m.throughput.images_per_s),
    "peak_memory_mb": ("peak memory of the process", lambda m, _: m.memory_mb.peak),
    "size_mb": ("size of the model's files", lambda m, _: m.bundle.model_bytes / 1e6),
    "top1_percent": ("top-1 accuracy on the test images", lambda m, _: top1_percent(m)),
    "drop_vs_teacher_points": ("percentage points of top-1 below the teacher", _drop),
    "speedup_vs_teacher": ("median latency of the teacher over the student's", _speedup),
}


def judge(measurements: Sequence[Measurement], budget: GateRecipe) -> Verdict:
    """Hold measurements against a budget.

    Args:
        measurements: all of a run, the teacher's too.
        budget: limits by metric, and the bundles that they hold for.

    Raises:
        UsageError: when the budget has no limits.
        MissingFileError: when there is nothing to judge.
        UnknownNameError: when a metric or a bundle is unknown.
    """
    if not budget.limits:
        raise UsageError("the budget has no limits; write some under [gate.limits]")
    for metric in budget.limits:
        if metric not in METRICS:
            raise unknown_name("metric", metric, METRICS, "gate.limits")
    judged = _judged(measurements, budget)
    return Verdict(
        [
            check
            for one in judged
            for metric, limit in budget.limits.items()
            for check in _checks(one, teacher_for(one, measurements), metric, limit)
        ]
    )


def teacher_for(one: Measurement, measurements: Sequence[Measurement]) -> Measurement | None:
    """The teacher measured on the same host; in the same format and for the same target if any."""
    teachers = [
        other
        for other in measurements
        if other.bundle.role == "teacher" and other.host.name == one.host.name
    ]

    def likeness(other: Measurement) -> tuple[bool, bool]:
        ours, theirs = one.bundle, other.bundle
        return theirs.format == ours.format, theirs.target == ours.target

    return max(teachers, key=likeness, default=None)


def _judged(measurements: Sequence[Measurement], budget: GateRecipe) -> list[Measurement]:
    students = [one for one in measurements if one.bundle.role == "student"]
    if budget.bundles is not None:
        measured = {one.bundle.name for one in measurements}
        for name in budget.bundles:
            if name not in measured:
                raise unknown_name("measured bundle", name, measured, "gate.bundles")
        students = [one for one in measurements if one.bundle.name in budget.bundles]
    if not students:
        raise MissingFileError(
            "nothing to judge: no student bundle was measured; run `compress bench`"
        )
    return students


def _checks(
    one: Measurement, teacher: Measurement | None, metric: str, limit: Limit
) -> list[Check]:
    value = METRICS[metric][1](one, teacher)
    checks = []
    for kind, bound in (("max", limit.max), ("min", limit.min)):
        if bound is not None:
            keeps = value is not None and (value <= bound if kind == "max" else value >= bound)
            checks.append(
                Check(
                    bundle=one.bundle.name,
                    host=one.host.name,
                    metric=metric,
                    kind="max" if kind == "max" else "min",
                    limit=bound,
                    value=value,
                    passed=keeps,
                )
            )
    return checks
