"""What a bundle can be held against: the teacher, its own FP32, an older release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deploy_targets.device.messages import VALID
from deploy_targets.measurement import BundleMeasured, Measurement, scenario_words
from foundation.statistics import paired_difference
from pipeline.exporting.candidates import FULL
from pipeline.gating.metrics import Figure, Metric, Missing, Read, percentile_in, read


@dataclass(frozen=True)
class Reference:
    """What a bundle is held against: measured, or known by its bundle alone."""

    bundle: BundleMeasured
    measurement: Measurement | None


def teacher_for(
    measurement: Measurement, measurements: Sequence[Measurement], *, anywhere: bool = False
) -> Measurement | None:
    """The teacher measured on the same host; in the same format and for the same target if any.

    Args:
        anywhere: on another host if not on the same: for what does not hang on the host. A teacher
            may be too large for the device that its student is for.
    """
    teachers = [
        teacher
        for teacher in measurements
        if teacher.bundle.role == "teacher"
        and (anywhere or teacher.host.name == measurement.host.name)
    ]

    def likeness(teacher: Measurement) -> tuple[bool, ...]:
        return (
            teacher.host.name == measurement.host.name,
            teacher.scenario == measurement.scenario,
            teacher.bundle.format == measurement.bundle.format,
            teacher.bundle.target == measurement.bundle.target,
            teacher.runtime.name == measurement.runtime.name,
            teacher.validity.verdict == VALID,
        )

    return max(teachers, key=likeness, default=None)


def full_precision_of(
    measurement: Measurement, measurements: Sequence[Measurement], *, anywhere: bool = False
) -> Measurement | None:
    """FP32 of the same network, format, target and host, in the same scenario if it was measured
    in that; None if that is what it is.

    Args:
        anywhere: as for `teacher_for`.
    """
    bundle = measurement.bundle
    candidates = [
        candidate
        for candidate in measurements
        if candidate.bundle.precision == FULL
        and (anywhere or candidate.host.name == measurement.host.name)
        and (candidate.bundle.role, candidate.bundle.format, candidate.bundle.target)
        == (bundle.role, bundle.format, bundle.target)
        and candidate.bundle.name != bundle.name
    ]

    def likeness(candidate: Measurement) -> tuple[bool, ...]:
        valid = candidate.validity.verdict == VALID
        return (
            candidate.host.name == measurement.host.name,
            candidate.scenario == measurement.scenario,
            valid,
        )

    return max(candidates, key=likeness, default=None)


def baseline_measurement_for(
    measurement: Measurement, baseline: Sequence[Measurement], *, alone: bool
) -> Measurement | None:
    """The baseline's measurement of the same name and host; the only one for the only one."""
    on_same_host = [m for m in baseline if m.host.name == measurement.host.name]
    of_same_name = [m for m in on_same_host if m.bundle.name == measurement.bundle.name]
    in_same_scenario = [m for m in of_same_name if m.scenario == measurement.scenario]
    if in_same_scenario or of_same_name:
        return (in_same_scenario or of_same_name)[0]
    return on_same_host[0] if alone and len(baseline) == len(on_same_host) == 1 else None


def read_reference(metric: Metric, reference: Reference, name: str) -> Read:
    if reference.measurement is not None:
        return read(metric, reference.measurement, name)
    if name == "size_mb":
        return Figure.exact(reference.bundle.model_bytes / 1e6)
    if percentile_in(name):
        return Missing(
            f"not measured: time {reference.bundle.name} in turns with `compress bench --against`, "
            "or give its measurement as the baseline"
        )
    return Missing("not measured: the baseline is a bundle alone; give its measurement")


def suspicion_of(metric: Metric, measurement: Measurement) -> str | None:
    """Why the measurement decides nothing about a metric; None if it does."""
    if not metric.timed or measurement.validity.verdict == VALID:
        return None
    return f"{measurement.bundle.name} is suspect: {'; '.join(measurement.validity.reasons)}"


def why_incomparable(
    metric: Metric, measurement: Measurement, reference: Measurement
) -> str | None:
    """Why two measurements cannot be compared; None if they can."""
    doubt = suspicion_of(metric, reference)
    if doubt or not metric.hosted:
        return doubt
    for aspect, value, reference_value in (
        ("CPU", measurement.host.facts.cpu, reference.host.facts.cpu),
        ("number of threads", measurement.runtime.threads, reference.runtime.threads),
        ("scenario", scenario_words(measurement.scenario), scenario_words(reference.scenario)),
    ):
        if value != reference_value:
            return (
                f"{reference.bundle.name} was measured with another {aspect} ({reference_value}, "
                f"here {value}), so that a difference says nothing of the bundles; measure it here"
            )
    return None


def drop_on_the_same_images(
    measurement: Measurement,
    reference: Measurement,
    of: Literal["accuracy", "agreement"] = "accuracy",
) -> Figure | None:
    """Percentage points that a bundle lies below its reference, image by image.

    Args:
        measurement, reference: of both.
        of: which of their shares.

    Returns:
        None where they did not answer the same images, or it was not kept which they had right.
    """
    accuracy, reference_accuracy = getattr(measurement, of), getattr(reference, of)
    if (
        accuracy is None
        or reference_accuracy is None
        or accuracy.right is None
        or reference_accuracy.right is None
    ):
        return None
    if accuracy.labels_sha256 is None or accuracy.labels_sha256 != reference_accuracy.labels_sha256:
        return None
    now, before = int(accuracy.right, 16), int(reference_accuracy.right, 16)
    lost, won = (before & ~now).bit_count(), (now & ~before).bit_count()
    return Figure(*(100 * share for share in paired_difference(lost, won, accuracy.n)))
