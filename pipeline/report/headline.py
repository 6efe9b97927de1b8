"""The one line of a report: the bundle to ship, against what it stands in for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from deploy_targets.measurement import Measurement
from pipeline.gating.metrics import top1_percent
from pipeline.gating.references import full_precision_of, teacher_for
from pipeline.gating.verdict import FAIL, Verdict
from pipeline.shipping import Shipping


@dataclass(frozen=True)
class Headline:
    """The bundle to ship and what it is compared with, side by side.

    Attributes:
        baseline: the teacher on the same host; without a teacher FP32 in the same format;
            None where there is neither.
        speedup: median latency of the baseline over the shipped one's.
        shrink: size of the baseline's model over the shipped one's.
        drop: percentage points of test top-1 below the baseline; negative when above.
    """

    shipped: Measurement
    baseline: Measurement | None
    speedup: float | None
    shrink: float | None
    drop: float | None


def host_to_show(measurements: Sequence[Measurement], shipping: Shipping | None) -> str | None:
    """The host that the choice was made on, or else the one with the most measurements."""
    counts = Counter(one.host.name for one in measurements)
    if shipping is not None and shipping.measured_on in counts:
        return shipping.measured_on
    return min(counts, key=lambda name: (-counts[name], name), default=None)


def headline_of(
    measurements: Sequence[Measurement],
    shipping: Shipping | None,
    verdict: Verdict | None,
) -> Headline | None:
    """The headline; None where what ships was not measured.

    Args:
        measurements: all of a run.
        shipping: which bundle was chosen; None takes the fastest student bundle, of those that
            keep the budget if any does.
        verdict: the gate's, if it was asked.
    """
    shipped = _fastest(measurements, verdict)
    if shipping is not None:
        host = host_to_show(measurements, shipping)
        chosen = (one for one in measurements if one.bundle.name == shipping.chosen)
        shipped = min(chosen, key=lambda one: one.host.name != host, default=None)
    if shipped is None:
        return None
    baseline = teacher_for(shipped, measurements) or full_precision_of(shipped, measurements)
    if baseline is None:
        return Headline(shipped, None, None, None, None)
    ours, theirs = top1_percent(shipped), top1_percent(baseline)
    fast, slow = shipped.latency_ms.p50, baseline.latency_ms.p50
    return Headline(
        shipped=shipped,
        baseline=baseline,
        speedup=slow / fast if fast and slow else None,
        shrink=baseline.bundle.model_bytes / shipped.bundle.model_bytes,
        drop=None if ours is None or theirs is None else theirs - ours,
    )


def _fastest(measurements: Sequence[Measurement], verdict: Verdict | None) -> Measurement | None:
    students = [one for one in measurements if one.bundle.role == "student"]
    checks = verdict.checks if verdict else []
    broken = {check.bundle for check in checks if check.verdict == FAIL}
    keeping = [one for one in students if one.bundle.name not in broken]
    timed = [one for one in keeping or students if one.latency_ms.p50 is not None]
    return min(timed, key=lambda one: one.latency_ms.p50 or 0, default=None)
