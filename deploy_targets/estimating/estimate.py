"""An estimate: what was computed for a device that nobody asked. Never a measurement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from deploy_targets.estimating.calibration import UNMEASURED_EFFICIENCY, Range
from deploy_targets.measurement import BundleMeasured
from foundation.files import write_json
from foundation.records import as_dict, read_record, record_in
from foundation.sense import above_zero, at_least, named, shares

SCHEMA_VERSION = 1
KIND = "estimate"

_WHAT, _AGAIN = "an estimate", "run `compress estimate` again"


@dataclass(frozen=True)
class Basis:
    """What an estimate rests on.

    Attributes:
        roofline_ms: the least time at the target's peak rates; None where its clock is not known.
        macs, bytes, operators: of the model, for one image.
        compute_share: of the least time, the part that waits for arithmetic (0..1).
        efficiency: of the roofline, as it was fitted or taken; None where the clock is not known.
        overhead_us: for each operator, fitted; 0 where nothing was measured.
        calibrated_by: measurements that it was fitted to, as "run/bundle@host"; empty for none.
        confidence: of the interval; None where nothing was measured, and it is a guess.
        notes: what else to know, a line each.
    """

    roofline_ms: float | None
    macs: int
    bytes: int
    operators: int
    compute_share: float
    efficiency: float | None
    overhead_us: float
    calibrated_by: list[str]
    confidence: float | None
    notes: list[str] = field(default_factory=list)

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from above_zero(roofline_ms=self.roofline_ms, efficiency=self.efficiency)
        yield from at_least(0, macs=self.macs, bytes=self.bytes, operators=self.operators)
        yield from at_least(0, overhead_us=self.overhead_us)
        yield from shares(compute_share=self.compute_share, confidence=self.confidence)

    @property
    def words(self) -> str:
        """What the estimate rests on, in short."""
        if not self.calibrated_by:
            low, _, high = UNMEASURED_EFFICIENCY
            return f"{low:.0%} to {high:.0%} of the roofline; nothing was measured on such a core"
        count = len(self.calibrated_by)
        plural = "" if count == 1 else "s"
        return f"{count} measurement{plural} of such a core; {self.confidence:.0%} interval"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The latency that one bundle may have on a target.

    Attributes:
        target: for which it was made.
        runtime: that takes the bundle there.
        latency_ms: of a single image, in milliseconds: the typical one, as a p50 is.
        made_at: ISO 8601, UTC.
    """

    schema_version: int = SCHEMA_VERSION
    kind: str = KIND
    bundle: BundleMeasured
    target: str
    runtime: str
    threads: int
    latency_ms: Range
    basis: Basis
    made_at: str

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from named(target=self.target, runtime=self.runtime)
        yield from at_least(1, threads=self.threads)


def file_name(bundle: str, target: str) -> str:
    """Name of an estimate's file among measurements, which it can be told from by it."""
    return f"{bundle}@{KIND}-{target}.json"


def is_estimate(path: Path) -> bool:
    """Whether a file of results is an estimate's, by its name."""
    return f"@{KIND}-" in path.name


def write_estimate(path: Path, estimate: Estimate) -> None:
    """Write an estimate as JSON, in one step."""
    write_json(path, as_dict(estimate))


def read_estimate(path: Path) -> Estimate:
    """Read an estimate that `write_estimate` wrote.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is anything else than an estimate of this schema.
    """
    return read_record(path, Estimate, _WHAT, _AGAIN)


def estimate_in(raw: object, path: Path) -> Estimate:
    """The estimate in what was read from a file; errors as `read_estimate`."""
    return record_in(raw, path, Estimate, _WHAT, _AGAIN)
