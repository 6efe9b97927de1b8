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
    comparisons: Sequence[Comparison], one: Measurement, other: BundleMeasured, percentile: str
) -> InTurns | None:
    """A latency over another's, from the last comparison of exactly these bundles on the host.

    Args:
        percentile: such as "p95".

    Returns:
        None where there is no such comparison, where it ran with other threads or in another
        runtime, or where its rounds do not carry the percentile.
    """
    if one.scenario.name != "single-stream" or one.scenario.batch != 1:
        return None
    for comparison in sorted(comparisons, key=lambda c: c.started_at, reverse=True):
        pair = _pair(comparison, one, other)
        if pair is None:
            continue
        ours, theirs = (each.rounds_of(percentile) for each in pair)
        if ours and theirs and len(ours) >= FEWEST_ROUNDS:
            ratio = ratio_to_baseline(ours, theirs, CONFIDENCE)
            return InTurns(Figure(ratio.estimate, ratio.low, ratio.high), _doubt(pair))
    return None


def _doubt(pair: Sequence[Candidate]) -> str | None:
    """What befalls both alike, turns take out; not that one ran as something else."""
    for one in pair:
        for reason in wrong_precision(one.runtime, one.bundle.precision):
            return f"{one.bundle.name} is suspect: {reason}"
    return None


def _pair(
    comparison: Comparison, one: Measurement, other: BundleMeasured
) -> tuple[Candidate, Candidate] | None:
    """The one and the other as candidates; a bundle against itself is there twice."""
    if comparison.host.name != one.host.name or not comparison.fresh:
        return None
    ours = comparison.of(one.bundle.manifest_sha256)
    theirs = next(
        (c for c in comparison.candidates if c.bundle.manifest_sha256 == other.manifest_sha256),
        None,
    )
    if ours is None or theirs is None or ours is theirs:
        return None
    alike = ours.runtime.threads == theirs.runtime.threads == one.runtime.threads
    alike = alike and ours.runtime.name == one.runtime.name
    return (ours, theirs) if alike else None
