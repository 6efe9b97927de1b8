"""The first that a report says: the bundle to ship, against what it stands in for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from deploy_targets.comparison import Comparison
from deploy_targets.device.messages import SUSPECT
from deploy_targets.measurement import Measurement
from pipeline.exporting.choice import Shipping
from pipeline.gating.metrics import Figure, Missing, drop, metric_named, quotient, read
from pipeline.gating.ratios import ratio_between
from pipeline.gating.references import (
    Reference,
    drop_on_the_same_images,
    full_precision_of,
    suspicion_of,
    teacher_for,
    why_incomparable,
)
from pipeline.gating.verdict import FAIL, Basis, Verdict
from pipeline.shown.words import number, signed

_P50 = "latency_p50_ms"


@dataclass(frozen=True)
class Headline:
    """The bundle to ship and what it is compared with, side by side.

    Attributes:
        baseline: the teacher on the same host; without a teacher FP32 in the same format;
            None where there is neither.
        speedup: median latency of the baseline over the shipped one's, with its interval.
        basis: of that: whether the two took turns.
        doubts: why the latencies may not be what they seem, a line each; none where both
            measurements are valid and alike.
        shrink: size of the baseline's model over the shipped one's.
        drop: percentage points of test top-1 below the baseline, with its interval; negative when
            above.
        drop_basis: of that: "same images" where it was counted image by image.
    """

    shipped: Measurement
    baseline: Measurement | None = None
    speedup: Figure | None = None
    basis: Basis = "none"
    doubts: list[str] = field(default_factory=list)
    shrink: float | None = None
    drop: Figure | None = None
    drop_basis: Basis = "none"

    @property
    def interval(self) -> str:
        """That of the speed-up, and what it rests on: "2.95 to 3.50, not interleaved"."""
        if self.speedup is None:
            return ""
        return f"{number(self.speedup.low, 2)} to {number(self.speedup.high, 2)}, {self.basis}"

    @property
    def change(self) -> float | None:
        """Percentage points of test top-1 above the baseline; negative when below."""
        return None if self.drop is None else -self.drop.value

    @property
    def change_interval(self) -> str:
        """That of the change, and what it rests on: "−1.80 to +0.20, same images"."""
        if self.drop is None:
            return ""
        ends = " to ".join(signed(-end) for end in (self.drop.high, self.drop.low))
        return f"{ends}, {self.drop_basis}" if self.drop_basis == "same images" else ends


def host_to_show(measurements: Sequence[Measurement], shipping: Shipping | None) -> str | None:
    """The host that the choice was made on, or else the one with the most measurements."""
    counts = Counter(measurement.host.name for measurement in measurements)
    if shipping is not None and shipping.measured_on in counts:
        return shipping.measured_on
    return min(counts, key=lambda name: (-counts[name], name), default=None)


def headline_of(
    measurements: Sequence[Measurement],
    comparisons: Sequence[Comparison],
    shipping: Shipping | None,
    verdict: Verdict | None,
) -> Headline | None:
    """The headline; None where what ships was not measured.

    Args:
        measurements: all of a run.
        comparisons: bundles timed in turns.
        shipping: which bundle was chosen; None takes the fastest student bundle of those that
            keep the budget, if any does, and whose measurement is valid, if any is.
        verdict: the gate's, if it was asked.
    """
    shipped = _fastest(measurements, verdict)
    if shipping is not None:
        host = host_to_show(measurements, shipping)
        chosen = (m for m in measurements if m.bundle.name == shipping.chosen)
        shipped = min(chosen, key=lambda m: (is_suspect(m), m.host.name != host), default=None)
    if shipped is None:
        return None
    metric = metric_named(_P50)
    doubt = suspicion_of(metric, shipped)
    baseline = teacher_for(shipped, measurements) or full_precision_of(shipped, measurements)
    if baseline is None:
        return Headline(shipped, doubts=[doubt] if doubt else [])
    lost, drop_basis = _drop_between(shipped, baseline)
    ratio = ratio_between(shipped, Reference(baseline.bundle, baseline), comparisons, _P50)
    figure = ratio.figure if isinstance(ratio.figure, Figure) else None
    # Turns take out how the machine was, but the two latencies beside the ratio are not from them.
    baseline_doubt = suspicion_of(metric, baseline)
    if ratio.basis != "interleaved":
        baseline_doubt = why_incomparable(metric, shipped, baseline)
    doubts = dict.fromkeys([doubt, baseline_doubt, ratio.suspect])
    return Headline(
        shipped=shipped,
        baseline=baseline,
        speedup=quotient(Figure.exact(1.0), figure) if figure else None,
        basis=ratio.basis,
        doubts=[reason for reason in doubts if reason],
        shrink=baseline.bundle.model_bytes / shipped.bundle.model_bytes,
        drop=lost,
        drop_basis=drop_basis,
    )


def _drop_between(shipped: Measurement, baseline: Measurement) -> tuple[Figure | None, Basis]:
    """Points of test top-1 that are lost, and what they rest on."""
    on_same_images = drop_on_the_same_images(shipped, baseline)
    if on_same_images is not None:
        return on_same_images, "same images"
    top1 = metric_named("top1_percent")
    share, reference = (read(top1, one, "top1_percent") for one in (shipped, baseline))
    if isinstance(share, Missing) or isinstance(reference, Missing):
        return None, "none"
    return drop(share, reference), "measured"


def is_suspect(measurement: Measurement) -> bool:
    """Whether its times may speak of something else than the bundle."""
    return measurement.validity.verdict == SUSPECT


def _fastest(measurements: Sequence[Measurement], verdict: Verdict | None) -> Measurement | None:
    students = [m for m in measurements if m.bundle.role == "student"]
    checks = verdict.checks if verdict else []
    broken = {check.bundle for check in checks if check.verdict == FAIL}
    keeping = [student for student in students if student.bundle.name not in broken]
    timed = [student for student in keeping or students if student.latency_ms.p50 is not None]
    return min(timed, key=lambda m: (is_suspect(m), m.latency_ms.p50 or 0), default=None)
