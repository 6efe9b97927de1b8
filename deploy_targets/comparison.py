"""A comparison: bundles timed against each other, as a record and as a JSON file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploy_targets.device.messages import Latency, Parity, RuntimeUsed
from deploy_targets.measurement import BundleMeasured, HostMeasured, read_record
from deploy_targets.records import as_dict
from foundation.files import write_json

SCHEMA_VERSION = 1
KIND = "comparison"

FASTER, SLOWER, NO_DIFFERENCE = "faster", "slower", "no difference"


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
    verdict: str


@dataclass(frozen=True)
class Candidate:
    """One bundle of a comparison.

    Attributes:
        latency_ms: of single images, the queries of all rounds together.
        round_ms: its typical latency in each round: the geometric mean of the medians of the
            round's two turns.
        parity: against the original's logits on the bundle's probe images.
        against_baseline: None for the baseline itself.
    """

    bundle: BundleMeasured
    runtime: RuntimeUsed
    latency_ms: Latency
    round_ms: list[float]
    parity: Parity
    against_baseline: Ratio | None


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

    @property
    def baseline(self) -> Candidate:
        """What the others are compared with."""
        return self.candidates[0]


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write a comparison as JSON, in one step."""
    write_json(path, as_dict(comparison))


def read_comparison(path: Path) -> Comparison:
    """Read a comparison that `write_comparison` wrote.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is anything else than a comparison of this schema.
    """
    return read_record(path, Comparison, KIND, SCHEMA_VERSION)
