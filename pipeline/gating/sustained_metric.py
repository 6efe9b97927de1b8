"""The latency that is left when a bundle was kept at work for long, for a budget."""

from __future__ import annotations

from collections.abc import Sequence

from deploy_targets.device.messages import VALID
from deploy_targets.device.percentiles import fewest_queries
from deploy_targets.device.stretches import CARRIED
from deploy_targets.measurement import Measurement
from deploy_targets.sustained import FALLS, Sustained, last_p95s
from pipeline.gating.answering import MetricReading
from pipeline.gating.metrics import Missing, median_of

# By how much, as a share, the 95th percentile of a stretch may lie from that of the next, where
# they are too few for bounds. Guessed: bursts of other processes have done as much.
_APART = 0.2


def sustained_reading(measurement: Measurement, series: Sequence[Sustained]) -> MetricReading:
    """The 95th percentile in the last third of the time: the median of its stretches'.

    Args:
        measurement: of the bundle that is judged.
        series: all there are.
    """
    own = [sustained for sustained in series if _is_of(sustained, measurement)]
    if not own:
        reason = (
            f"not measured: {measurement.bundle.name} was not kept at work on "
            f"{measurement.host.name} like this; bench with --sustain 30m"
        )
        return MetricReading(Missing(reason), "none")
    # A series that nothing spoilt before one that was cut, and then the longest.
    best = max(own, key=lambda one: (one.validity.verdict == VALID, one.lasted_s))
    p95s = last_p95s(best)
    if not p95s:
        reason = (
            f"a p95 needs {fewest_queries(CARRIED)} queries in the last third of the time; bench "
            "with a longer --sustain"
        )
        return MetricReading(Missing(reason, undecided=True), "none")
    return MetricReading(median_of(p95s, _APART), "measured", _doubt(best))


def _is_of(sustained: Sustained, measurement: Measurement) -> bool:
    """Whether it is the same bundle on the same machine, run and asked in the same way."""
    return (
        sustained.bundle.manifest_sha256 == measurement.bundle.manifest_sha256
        and sustained.host.name == measurement.host.name
        and sustained.scenario == measurement.scenario
        and sustained.runtime.name == measurement.runtime.name
        and sustained.runtime.threads == measurement.runtime.threads
    )


def _doubt(sustained: Sustained) -> str | None:
    """Why a series decides nothing; None if it does."""
    name = sustained.bundle.name
    if sustained.validity.verdict != VALID:
        return f"{name} at work is suspect: {'; '.join(sustained.validity.reasons)}"
    if sustained.holding.verdict == FALLS:
        return f"{name}: {sustained.holding.reason}"
    return None
