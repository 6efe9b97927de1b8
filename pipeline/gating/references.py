"""What a bundle can be held against: the teacher, its own FP32, an older release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    one: Measurement, measurements: Sequence[Measurement], *, anywhere: bool = False
) -> Measurement | None:
    """The teacher measured on the same host; in the same format and for the same target if any.

    Args:
        anywhere: on another host if not on the same: for what does not hang on the host. A teacher
            may be too large for the device that its student is for.
    """
    teachers = [
        other
        for other in measurements
        if other.bundle.role == "teacher" and (anywhere or other.host.name == one.host.name)
    ]

    def likeness(other: Measurement) -> tuple[bool, ...]:
        ours, theirs = one.bundle, other.bundle
        return (
            other.host.name == one.host.name,
            other.scenario == one.scenario,
            theirs.format == ours.format,
            theirs.target == ours.target,
            other.runtime.name == one.runtime.name,
            other.validity.verdict == VALID,
        )

    return max(teachers, key=likeness, default=None)


def full_precision_of(
    one: Measurement, measurements: Sequence[Measurement], *, anywhere: bool = False
) -> Measurement | None:
    """FP32 of the same network, format, target and host, in the same scenario if it was measured
    in that; None if that is what it is.

    Args:
        anywhere: as for `teacher_for`.
    """
    ours = one.bundle
    alike = [
        other
        for other in measurements
        if other.bundle.precision == FULL
        and (anywhere or other.host.name == one.host.name)
        and (other.bundle.role, other.bundle.format, other.bundle.target)
        == (ours.role, ours.format, ours.target)
        and other.bundle.name != ours.name
    ]

    def likeness(other: Measurement) -> tuple[bool, ...]:
        valid = other.validity.verdict == VALID
        return other.host.name == one.host.name, other.scenario == one.scenario, valid

    return max(alike, key=likeness, default=None)


def of_baseline(
    one: Measurement, baseline: Sequence[Measurement], *, alone: bool
) -> Measurement | None:
    """The baseline's measurement of the same name and host; the only one for the only one."""
    here = [other for other in baseline if other.host.name == one.host.name]
    alike = [other for other in here if other.bundle.name == one.bundle.name]
    same = [other for other in alike if other.scenario == one.scenario]
    if same or alike:
        return (same or alike)[0]
    return here[0] if alone and len(baseline) == len(here) == 1 else None


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


def suspicion_of(metric: Metric, one: Measurement) -> str | None:
    """Why the measurement decides nothing about a metric; None if it does."""
    if not metric.timed or one.validity.verdict == VALID:
        return None
    return f"{one.bundle.name} is suspect: {'; '.join(one.validity.reasons)}"


def unlike(metric: Metric, one: Measurement, other: Measurement) -> str | None:
    """Why two measurements cannot be compared; None if they can."""
    doubt = suspicion_of(metric, other)
    if doubt or not metric.hosted:
        return doubt
    for what, ours, theirs in (
        ("CPU", one.host.facts.cpu, other.host.facts.cpu),
        ("number of threads", one.runtime.threads, other.runtime.threads),
        ("scenario", scenario_words(one.scenario), scenario_words(other.scenario)),
    ):
        if ours != theirs:
            return (
                f"{other.bundle.name} was measured with another {what} ({theirs}, here {ours}), "
                "so that a difference says nothing of the bundles; measure it here"
            )
    return None


def drop_on_the_same_images(one: Measurement, other: Measurement) -> Figure | None:
    """Percentage points of top-1 that the one lies below the other, image by image.

    Returns:
        None where they did not answer the same images, or it was not kept which they had right.
    """
    ours, theirs = one.accuracy, other.accuracy
    if ours is None or theirs is None or ours.right is None or theirs.right is None:
        return None
    if ours.labels_sha256 is None or ours.labels_sha256 != theirs.labels_sha256:
        return None
    now, before = int(ours.right, 16), int(theirs.right, 16)
    lost, won = (before & ~now).bit_count(), (now & ~before).bit_count()
    return Figure(*(100 * share for share in paired_difference(lost, won, ours.n)))
