"""Figures of a bundle over another's: from turns, or from two measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deploy_targets.comparison import Comparison, ratio_to_baseline
from deploy_targets.intervals import CONFIDENCE
from deploy_targets.measurement import Measurement
from foundation.errors import MissingFileError
from pipeline.gating.answering import Finding
from pipeline.gating.metrics import (
    Figure,
    Missing,
    apart,
    metric_named,
    percentile_in,
    quotient,
    read,
)
from pipeline.gating.references import Reference, read_reference, suspicion_of, unlike
from pipeline.gating.turns import ratio_in_turns


@dataclass(frozen=True)
class RatioShown:
    """A bundle's latency divided by the reference's: below 1 it is the faster one.

    Attributes:
        percentile: such as "p95".
        low, high: bounds, each at 99 % where the bundles took turns. Of stored measurements they
            are as far as the two intervals let the ratio lie, and what two processes differ by
            anyway; that the machine was the same both times is taken on trust.
    """

    bundle: str
    reference: str
    host: str
    percentile: str
    estimate: float
    low: float
    high: float
    basis: Literal["interleaved", "not interleaved"]


def ratio_between(
    one: Measurement, reference: Reference, comparisons: Sequence[Comparison], name: str
) -> Finding:
    """The one's figure over the reference's, from turns where there were some.

    Args:
        one: the measurement.
        reference: what it is held against.
        comparisons: bundles timed in turns.
        name: of the metric.

    Returns:
        Bounds, and what there is to say against them; `Missing` where there is no ratio.
    """
    metric, percent = metric_named(name), percentile_in(name)
    known = reference.bundle.name
    if percent is not None:
        timed = ratio_in_turns(comparisons, one, reference.bundle, f"p{percent}")
        if timed is not None:
            return Finding(timed.ratio, "interleaved", timed.doubt, known)
    ours, theirs = read(metric, one, name), read_reference(metric, reference, name)
    if isinstance(ours, Missing):
        return Finding(ours, "none", None, known)
    if isinstance(theirs, Missing):
        return Finding(theirs, "none", None, known)
    if min(ours.low, theirs.low) <= 0:
        return Finding(Missing("not measured: of zero there is no ratio"), "none", None, known)
    doubt = None
    if reference.measurement is not None:
        doubt = suspicion_of(metric, one) or unlike(metric, one, reference.measurement)
    ratio = quotient(ours, theirs)
    if not metric.hosted:
        return Finding(ratio, "exact", doubt, known)
    return Finding(apart(ratio), "not interleaved", doubt, known)


def ratios_in_turns(comparison: Comparison) -> list[RatioShown]:
    """Of every candidate to the baseline, for each percentile that the rounds carry."""
    baseline, found = comparison.baseline, []
    for one in comparison.candidates[1:]:
        for percentile in ("p50", *one.round_percentiles_ms):
            ours, theirs = one.rounds_of(percentile), baseline.rounds_of(percentile)
            if ours and theirs:
                ratio = ratio_to_baseline(ours, theirs, CONFIDENCE)
                found.append(
                    RatioShown(
                        one.bundle.name, baseline.bundle.name, comparison.host.name, percentile,
                        ratio.estimate, ratio.low, ratio.high, "interleaved",
                    )
                )  # fmt: skip
    return found


def stored_ratios(
    measurements: Sequence[Measurement], references: Sequence[Measurement]
) -> list[RatioShown]:
    """Of every measurement to the stored one of the same name, or to the only one there is.

    Raises:
        MissingFileError: when none of them has one.
    """
    found = [
        ratio
        for one in measurements
        for other in _references_of(one, measurements, references)
        for ratio in _ratios(one, other)
    ]
    if not found:
        names = ", ".join(sorted({other.bundle.name for other in references}))
        raise MissingFileError(
            f"nothing was measured that could be held against {names} in the same scenario; name "
            "one bundle with --bundle"
        )
    return found


def _references_of(
    one: Measurement, measurements: Sequence[Measurement], references: Sequence[Measurement]
) -> list[Measurement]:
    comparable = [other for other in references if other.scenario == one.scenario]
    alike = [other for other in comparable if other.bundle.name == one.bundle.name]
    here = [other for other in alike if other.host.name == one.host.name]
    return (here or alike)[:1] or (comparable if len(measurements) == len(references) == 1 else [])


def _ratios(one: Measurement, other: Measurement) -> list[RatioShown]:
    ours, theirs = one.latency_ms.percentiles, other.latency_ms.percentiles
    found = []
    for percentile in (name for name in ours if name in theirs):
        both = (ours[percentile], theirs[percentile])
        ratio = apart(quotient(*(Figure(each.value, each.low, each.high) for each in both)))
        found.append(
            RatioShown(
                one.bundle.name, other.bundle.name, one.host.name, percentile,
                ratio.value, ratio.low, ratio.high, "not interleaved",
            )
        )  # fmt: skip
    return found
