"""Figures of a bundle over another's: from turns, or from two measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deploy_targets.comparison import Comparison, ratio_to_baseline
from deploy_targets.intervals import CONFIDENCE
from deploy_targets.measurement import Measurement
from foundation.errors import MissingFileError
from pipeline.gating.answering import MetricReading
from pipeline.gating.metrics import (
    Figure,
    Missing,
    metric_named,
    percentile_in,
    quotient,
    read,
    widened,
)
from pipeline.gating.references import Reference, read_reference, suspicion_of, why_incomparable
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
    measurement: Measurement, reference: Reference, comparisons: Sequence[Comparison], name: str
) -> MetricReading:
    """A bundle's figure over the reference's, from turns where there were some.

    Args:
        measurement: of the bundle.
        reference: what it is held against.
        comparisons: bundles timed in turns.
        name: of the metric.

    Returns:
        Bounds, and what there is to say against them; `Missing` where there is no ratio.
    """
    metric, percent = metric_named(name), percentile_in(name)
    reference_name = reference.bundle.name
    if percent is not None:
        timed = ratio_in_turns(comparisons, measurement, reference.bundle, f"p{percent}")
        if timed is not None:
            return MetricReading(timed.ratio, "interleaved", timed.doubt, reference_name)
    figure = read(metric, measurement, name)
    reference_figure = read_reference(metric, reference, name)
    if isinstance(figure, Missing):
        return MetricReading(figure, "none", None, reference_name)
    if isinstance(reference_figure, Missing):
        return MetricReading(reference_figure, "none", None, reference_name)
    if min(figure.low, reference_figure.low) <= 0:
        return MetricReading(
            Missing("not measured: of zero there is no ratio"), "none", None, reference_name
        )
    doubt = None
    if reference.measurement is not None:
        doubt = suspicion_of(metric, measurement) or why_incomparable(
            metric, measurement, reference.measurement
        )
    ratio = quotient(figure, reference_figure)
    if not metric.hosted:
        return MetricReading(ratio, "exact", doubt, reference_name)
    return MetricReading(widened(ratio), "not interleaved", doubt, reference_name)


def ratios_in_turns(comparison: Comparison) -> list[RatioShown]:
    """Of every candidate to the baseline, for each percentile that the rounds carry."""
    baseline, ratios = comparison.baseline, []
    for candidate in comparison.candidates[1:]:
        for percentile in ("p50", *candidate.round_percentiles_ms):
            rounds = candidate.rounds_of(percentile)
            baseline_rounds = baseline.rounds_of(percentile)
            if rounds and baseline_rounds:
                ratio = ratio_to_baseline(rounds, baseline_rounds, CONFIDENCE)
                ratios.append(
                    RatioShown(
                        candidate.bundle.name, baseline.bundle.name, comparison.host.name,
                        percentile, ratio.estimate, ratio.low, ratio.high, "interleaved",
                    )
                )  # fmt: skip
    return ratios


def stored_ratios(
    measurements: Sequence[Measurement], references: Sequence[Measurement]
) -> list[RatioShown]:
    """Of every measurement to the stored one of the same name, or to the only one there is.

    Raises:
        MissingFileError: when none of them has one.
    """
    ratios = [
        ratio
        for measurement in measurements
        for reference in _references_of(measurement, measurements, references)
        for ratio in _ratios(measurement, reference)
    ]
    if not ratios:
        names = ", ".join(sorted({reference.bundle.name for reference in references}))
        raise MissingFileError(
            f"nothing was measured that could be held against {names} in the same scenario; name "
            "one bundle with --bundle"
        )
    return ratios


def _references_of(
    measurement: Measurement, measurements: Sequence[Measurement], references: Sequence[Measurement]
) -> list[Measurement]:
    comparable = [r for r in references if r.scenario == measurement.scenario]
    of_same_name = [r for r in comparable if r.bundle.name == measurement.bundle.name]
    on_same_host = [r for r in of_same_name if r.host.name == measurement.host.name]
    if of_same_name:
        return (on_same_host or of_same_name)[:1]
    return comparable if len(measurements) == len(references) == 1 else []


def _ratios(measurement: Measurement, reference: Measurement) -> list[RatioShown]:
    percentiles = measurement.latency_ms.percentiles
    reference_percentiles = reference.latency_ms.percentiles
    ratios = []
    for name in (name for name in percentiles if name in reference_percentiles):
        both = (percentiles[name], reference_percentiles[name])
        ratio = widened(quotient(*(Figure(bound.value, bound.low, bound.high) for bound in both)))
        ratios.append(
            RatioShown(
                measurement.bundle.name, reference.bundle.name, measurement.host.name, name,
                ratio.value, ratio.low, ratio.high, "not interleaved",
            )
        )  # fmt: skip
    return ratios
