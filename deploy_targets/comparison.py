"""A comparison: bundles timed against each other, as a record and as a JSON file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deploy_targets.device.messages import Latency, Parity, RuntimeUsed
from deploy_targets.intervals import signed_rank_interval
from deploy_targets.measurement import BundleMeasured, HostMeasured, uncarried
from foundation.files import write_json
from foundation.records import as_dict, read_record, record_in
from foundation.sense import above_zero, ascending, at_least, shares

SCHEMA_VERSION = 2
KIND = "comparison"

_WHAT, _AGAIN = "a comparison", "measure again"

CONFIDENCE = 0.95
FASTER: Literal["faster"] = "faster"
SLOWER: Literal["slower"] = "slower"
NO_DIFFERENCE: Literal["no difference"] = "no difference"


@dataclass(frozen=True)
class Ratio:
    """A bundle's latency divided by the baseline's: below 1 it is the faster one.

    Attributes:
        estimate: of the ratio of median latencies.
        low, high: its confidence interval.
        confidence: of that, for this pair alone.
        verdict: "faster" or "slower" when the whole interval is, else "no difference": none
            that so many rounds could show.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    verdict: Literal["faster", "slower", "no difference"]

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from above_zero(low=self.low)
        yield from ascending(low=self.low, estimate=self.estimate, high=self.high)
        yield from shares(confidence=self.confidence)
        if self.low > 0 and self.verdict != _verdict_of(math.log(self.low), math.log(self.high)):
            yield f"verdict is {self.verdict!r} of {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Candidate:
    """One bundle of a comparison.

    Attributes:
        latency_ms: of single images, the queries of all rounds together.
        round_ms: its typical latency in each round: the geometric mean of the medians of the
            round's two turns.
        round_percentiles_ms: by "p90" and the like, a value for each round, of its two turns
            together; only those that the queries of every round carry.
        parity: against the original's logits on the bundle's probe images.
        against_baseline: None for the baseline itself.
    """

    bundle: BundleMeasured
    runtime: RuntimeUsed
    latency_ms: Latency
    round_ms: list[float]
    parity: Parity
    against_baseline: Ratio | None
    round_percentiles_ms: dict[str, list[float]] = field(default_factory=dict)

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from uncarried(self.latency_ms)
        yield from above_zero(round_ms=min(self.round_ms, default=None))
        for name, values in self.round_percentiles_ms.items():
            yield from above_zero(**{name: min(values, default=None)})
            if len(values) != len(self.round_ms):
                yield f"{name} has {len(values)} rounds, and round_ms {len(self.round_ms)}"

    def rounds_of(self, percentile: str) -> list[float] | None:
        """A value for each round of "p50" and the like; None where a round cannot carry it."""
        return self.round_ms if percentile == "p50" else self.round_percentiles_ms.get(percentile)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Bundles timed interleaved on one host.

    Attributes:
        candidates: in the order given; the first is the baseline.
        rounds: in each of which every bundle had two turns.
        fresh: whether each round had processes of its own.
        seconds: that the whole took.
        started_at: ISO 8601, UTC.
    """

    schema_version: int = SCHEMA_VERSION
    kind: str = KIND
    host: HostMeasured
    rounds: int
    fresh: bool
    candidates: list[Candidate]
    seconds: float
    started_at: str

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(1, rounds=self.rounds)
        yield from at_least(0, seconds=self.seconds)
        if len(self.candidates) < 2:
            yield f"candidates must be at least 2, but there are {len(self.candidates)}"
        for number, candidate in enumerate(self.candidates):
            if len(candidate.round_ms) != self.rounds:
                yield f"candidates[{number}] has {len(candidate.round_ms)} rounds of {self.rounds}"
            if (candidate.against_baseline is None) != (number == 0):
                yield f"candidates[{number}]: the first, and no other, is the baseline"

    @property
    def baseline(self) -> Candidate:
        """What the others are compared with."""
        return self.candidates[0]

    def of(self, manifest_sha256: str) -> Candidate | None:
        """The candidate that is exactly this bundle; the last of several."""
        every = [
            candidate
            for candidate in self.candidates
            if candidate.bundle.manifest_sha256 == manifest_sha256
        ]
        return every[-1] if every else None


def ratio_to_baseline(
    round_ms: Sequence[float], baseline_ms: Sequence[float], confidence: float = CONFIDENCE
) -> Ratio:
    """Compare two bundles by their typical latencies in the same rounds.

    Args:
        round_ms, baseline_ms: positive, a value for each round, in the same order.
        confidence: of the interval, two-sided.

    Raises:
        ValueError: when there are too few rounds for an interval.
    """
    logs = [math.log(own / baseline) for own, baseline in zip(round_ms, baseline_ms, strict=True)]
    interval = signed_rank_interval(logs, confidence)
    return Ratio(
        estimate=math.exp(interval.estimate),
        low=math.exp(interval.low),
        high=math.exp(interval.high),
        confidence=confidence,
        verdict=_verdict_of(interval.low, interval.high),
    )


def _verdict_of(log_low: float, log_high: float) -> Literal["faster", "slower", "no difference"]:
    if log_high < 0:
        return FASTER
    if log_low > 0:
        return SLOWER
    return NO_DIFFERENCE


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write a comparison as JSON, in one step."""
    write_json(path, as_dict(comparison))


def read_comparison(path: Path) -> Comparison:
    """Read a comparison that `write_comparison` wrote.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is anything else than a comparison of this schema.
    """
    return read_record(path, Comparison, _WHAT, _AGAIN)


def comparison_in(raw: object, path: Path) -> Comparison:
    """The comparison in what was read from a file; errors as `read_comparison`."""
    return record_in(raw, path, Comparison, _WHAT, _AGAIN)
