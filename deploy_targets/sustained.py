"""A bundle kept at work for long on a host: the series and what it says, as a record and a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy_targets.device.messages import Parity, RuntimeUsed, Scenario, Validity
from deploy_targets.device.percentiles import fewest_queries, nearest_rank
from deploy_targets.device.stretches import CARRIED, Stretch
from deploy_targets.measurement import BundleMeasured, HostMeasured
from foundation.durations import span_words
from foundation.files import write_json
from foundation.records import as_dict, read_record, record_in
from foundation.sense import above_zero, ascending, at_least, known, named

SCHEMA_VERSION = 1
KIND = "sustained"

HOLDS, SETTLES, FALLS, UNDECIDED = VERDICTS = ("holds", "settles", "falls", "undecided")
# What is left of the speed where a loss begins to matter.
LOST = 0.95
_LAST_SHARE = 1 / 3
_WHAT, _AGAIN = "a series under sustained load", "run `compress bench --sustain` again"


@dataclass(frozen=True)
class SpeedRatio:
    """A speed over an earlier one; `low` and `high` are bounds of it, each at 99 %."""

    estimate: float
    low: float
    high: float

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from above_zero(low=self.low)
        yield from ascending(low=self.low, estimate=self.estimate, high=self.high)

    @property
    def words(self) -> str:
        """Such as "72 % (71 to 74)"."""
        return f"{self.estimate:.0%} ({100 * self.low:.0f} to {100 * self.high:.0f})".replace(
            "%", " %", 1
        )


@dataclass(frozen=True)
class Holding:
    """Whether a bundle holds its speed.

    Attributes:
        verdict: "holds" (it keeps 95 % of it), "settles" (it loses more and stays there), "falls"
            (it still gets slower at the end) or "undecided".
        reason: why undecided, and what else to know.
        speed: of the last third of the time over that of the opening; None for too few stretches.
        at_end: of the last part's second half over that of its first.
        correlation: of neighbouring stretches (0..0.95), by which bounds were widened.
        settled_after_s: seconds from the beginning until the latency came to where it stays.
        opening_ms, last_ms: median latency in the opening, and in the last third of the time.
        opening_mhz, last_mhz: the clock of the slowest core then; None where it is not told.
        hottest_c: the highest temperature.
        throttled_s: seconds in which the machine said that it slows itself down.
    """

    verdict: str
    reason: str
    speed: SpeedRatio | None
    at_end: SpeedRatio | None
    correlation: float
    settled_after_s: float | None
    opening_ms: float | None
    last_ms: float | None
    opening_mhz: float | None
    last_mhz: float | None
    hottest_c: float | None
    throttled_s: float | None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from known(VERDICTS, verdict=self.verdict)
        yield from at_least(0, correlation=self.correlation, settled_after_s=self.settled_after_s)
        yield from above_zero(opening_ms=self.opening_ms, last_ms=self.last_ms)
        yield from at_least(0, opening_mhz=self.opening_mhz, last_mhz=self.last_mhz)
        yield from at_least(0, throttled_s=self.throttled_s)
        if self.speed is None and self.verdict != UNDECIDED:
            yield f"verdict is {self.verdict}, of no speed"


@dataclass(frozen=True, kw_only=True)
class Sustained:
    """One bundle kept at work on one host.

    Attributes:
        scenario: how queries came.
        parity: against the original's answers to the bundle's probe.
        asked_s: seconds that it was to stay at work.
        stopped: why it did so for less; None where it did not.
        opening_s: how long the first part is that the last is held against.
        warmup_n: queries before the first stretch.
        stretches: of the time, in order.
        holding: whether it holds its speed.
        validity: whether the series speaks of the bundle, or of what else went on.
        seconds: that all took.
        started_at: when it began; ISO 8601, UTC.
    """

    schema_version: int = SCHEMA_VERSION
    kind: str = KIND
    bundle: BundleMeasured
    host: HostMeasured
    runtime: RuntimeUsed
    scenario: Scenario
    parity: Parity
    asked_s: float
    stopped: str | None
    opening_s: float
    warmup_n: int
    stretches: list[Stretch]
    holding: Holding
    validity: Validity
    seconds: float
    started_at: str

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from above_zero(asked_s=self.asked_s)
        yield from at_least(0, opening_s=self.opening_s, warmup_n=self.warmup_n)
        yield from at_least(0, seconds=self.seconds)
        yield from named(stopped=self.stopped)
        if not self.stretches:
            yield "stretches must be of some time, but are empty"
        begins = [stretch.at_s for stretch in self.stretches]
        if begins != sorted(begins):
            yield "stretches are not in the order of time"

    @property
    def lasted_s(self) -> float:
        """Seconds from the beginning of the first stretch to the end of the last."""
        return self.stretches[-1].at_s + self.stretches[-1].seconds

    @property
    def words(self) -> str:
        """What it comes to, in a line."""
        holding = self.holding
        lasted = span_words(self.lasted_s)
        if holding.speed is None:
            return f"undecided after {lasted}: {holding.reason}"
        ratio = holding.speed.words
        after = holding.settled_after_s
        line = {
            HOLDS: f"holds its speed: {ratio} of it are left after {lasted}",
            SETTLES: f"settles at {ratio} of its speed"
            + (f" after {span_words(after)}" if after is not None else f", over {lasted}"),
            FALLS: f"falls to {ratio} of its speed in {lasted}",
            UNDECIDED: f"undecided, with {ratio} of its speed after {lasted}",
        }[holding.verdict]
        return f"{line}: {holding.reason}" if holding.reason else line


def last_part(stretches: Sequence[Stretch]) -> list[Stretch]:
    """The last third of the time, which stands for the time after."""
    if not stretches:
        return []
    end = stretches[-1].at_s + stretches[-1].seconds
    return [stretch for stretch in stretches if stretch.at_s >= end * (1 - _LAST_SHARE) - 1e-6]


def last_p95s(sustained: Sustained) -> list[float]:
    """Milliseconds of the 95th percentile in the last third of the time: of each stretch, or of as
    many neighbours together as have queries enough to carry one."""
    needed, found, gathered = fewest_queries(CARRIED), list[float](), list[float]()
    for stretch in last_part(sustained.stretches):
        if stretch.p95_ms is not None:
            found.append(stretch.p95_ms)
            continue
        gathered += stretch.samples_ms
        if len(gathered) >= needed:
            found.append(nearest_rank(sorted(gathered), CARRIED))
            gathered.clear()
    return found


def write_sustained(path: Path, sustained: Sustained) -> None:
    """Write a series as JSON, in one step."""
    write_json(path, as_dict(sustained))


def read_sustained(path: Path) -> Sustained:
    """Read a series that `write_sustained` wrote.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is anything else than a series of this schema.
    """
    return read_record(path, Sustained, _WHAT, _AGAIN)


def sustained_in(raw: object, path: Path) -> Sustained:
    """The series in what was read from a file; errors as `read_sustained`."""
    return record_in(raw, path, Sustained, _WHAT, _AGAIN)
