"""How two bundles compare where they were timed in turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deploy_targets.comparison import Candidate, Comparison, ratio_to_baseline
from deploy_targets.intervals import CONFIDENCE, FEWEST_ROUNDS
from deploy_targets.measurement import BundleMeasured, Measurement
from deploy_targets.measuring.validity import wrong_precision
from pipeline.gating.metrics import Figure


@dataclass(frozen=True)
class InTurns:
    """A latency over another's, timed in turns.

    Attributes:
        doubt: why it decides nothing all the same; None if it does.
    """

    ratio: Figure
    doubt: str | None


def ratio_in_turns(
    comparisons: Sequence[Comparison],
    measurement: Measurement,
    reference: BundleMeasured,
    percentile: str,
) -> InTurns | None:
    """A latency over another's, from the last comparison of exactly these bundles on the host.

    Args:
        percentile: such as "p95".

    Returns:
        None where there is no such comparison, where it ran with other threads or in another
        runtime, or where its rounds do not carry the percentile.
    """
    if measurement.scenario.name != "single-stream" or measurement.scenario.batch != 1:
        return None
    for comparison in sorted(comparisons, key=lambda c: c.started_at, reverse=True):
        pair = _pair(comparison, measurement, reference)
        if pair is None:
            continue
        rounds, reference_rounds = (candidate.rounds_of(percentile) for candidate in pair)
        if rounds and reference_rounds and len(rounds) >= FEWEST_ROUNDS:
            ratio = ratio_to_baseline(rounds, reference_rounds, CONFIDENCE)
            return InTurns(Figure(ratio.estimate, ratio.low, ratio.high), _suspicion(pair))
    return None


def _suspicion(pair: Sequence[Candidate]) -> str | None:
    """What befalls both alike, turns take out; not that one ran as something else."""
    for candidate in pair:
        for reason in wrong_precision(candidate.runtime, candidate.bundle.precision):
            return f"{candidate.bundle.name} is suspect: {reason}"
    return None


def _pair(
    comparison: Comparison, measurement: Measurement, reference: BundleMeasured
) -> tuple[Candidate, Candidate] | None:
    """The measured bundle and its reference as candidates; the same bundle may be there twice."""
    if comparison.host.name != measurement.host.name or not comparison.fresh:
        return None
    candidate = comparison.of(measurement.bundle.manifest_sha256)
    rival = next(
        (c for c in comparison.candidates if c.bundle.manifest_sha256 == reference.manifest_sha256),
        None,
    )
    if candidate is None or rival is None or candidate is rival:
        return None
    same_settings = (
        candidate.runtime.threads == rival.runtime.threads == measurement.runtime.threads
    )
    same_settings = same_settings and candidate.runtime.name == measurement.runtime.name
    return (candidate, rival) if same_settings else None
