"""A bundle kept at work for long: its latencies and the machine's state, stretch by stretch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deploy_targets.device.conditions import worst_of
from deploy_targets.device.messages import DURING, Conditions, Timed
from deploy_targets.device.percentiles import fewest_queries, nearest_rank
from deploy_targets.device.timing import PART_S
from foundation.sense import above_zero, ascending, at_least

if TYPE_CHECKING:
    from deploy_targets.device.scenarios import Series

# The first seconds are looked at in short stretches: before a machine is hot they are all that
# there is of its full speed.
OPENING_S, OPENING_SHARE = 10.0, 0.1
# A minute is what people think in; of a short series as many stretches as statistics want, of a
# long one as many as a person looks at.
LONGEST_S, USUAL_STRETCHES, MOST_STRETCHES = 60.0, 60, 240

CARRIED = 95.0
_ENDLESS = 2**62
_MS_PER_NS, _US_PER_NS, _NS_PER_S = 1e-6, 1e-3, 1e9
# As long as a sample can be written down: what carries a percentile of its own needs no samples.
_DIGITS = 3


@dataclass(frozen=True)
class Stretch:
    """A stretch of the time.

    Attributes:
        at_s: seconds from the beginning of the first to that of this one.
        seconds: that its queries took.
        n: queries.
        p50_ms, p95_ms, max_ms: of their latencies; p95 is None where they are too few for one.
        samples_us: then, the microseconds of each, between spaces; else empty.
        conditions: the worst of looks at the machine meanwhile; the clock is the median of them.
    """

    at_s: float
    seconds: float
    n: int
    p50_ms: float
    p95_ms: float | None
    max_ms: float
    samples_us: str
    conditions: Conditions

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(0, at_s=self.at_s)
        yield from above_zero(seconds=self.seconds, p50_ms=self.p50_ms)
        yield from at_least(1, n=self.n)
        tail = {} if self.p95_ms is None else {"p95_ms": self.p95_ms}
        yield from ascending(p50_ms=self.p50_ms, **tail, max_ms=self.max_ms)
        carried = self.n >= fewest_queries(CARRIED)
        if carried == (self.p95_ms is None):
            yield f"p95_ms of {self.n} queries {'is lacking' if carried else 'is not carried'}"
        try:
            samples = self.samples_ms
        except ValueError:
            yield "samples_us must hold microseconds between spaces"
            return
        if len(samples) != (0 if carried else self.n):
            yield f"samples_us has {len(samples)} of {self.n} queries"
        yield from above_zero(samples_us=min(samples, default=None))

    @property
    def samples_ms(self) -> list[float]:
        """Milliseconds of each query, where they were kept."""
        return [float(us) / 1e3 for us in self.samples_us.split()]


def opening_of(seconds: float) -> float:
    """How long the opening of a series lasts, which is looked at in the shortest stretches."""
    return min(OPENING_S, seconds * OPENING_SHARE)


def ends_of(seconds: float) -> list[float]:
    """When each stretch of a series ends, in seconds from its beginning."""
    opening = opening_of(seconds)
    usual = max(min(LONGEST_S, seconds / USUAL_STRETCHES), seconds / MOST_STRETCHES, PART_S)
    ends = [PART_S * i for i in range(1, int(opening / PART_S) + 1)]
    last = ends[-1] if ends else 0.0
    count = max(1, round((seconds - last) / usual))
    return [*ends, *(last + (seconds - last) * i / count for i in range(1, count + 1))]


def stretches(
    series: Series,
    look: Callable[[], Conditions],
    ends: Sequence[float],
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Stretch]:
    """Keep a series at work, and tell of each stretch of the time.

    Args:
        series: where samples come from; a part of it ends with its last query, which may be late.
        look: at the machine, as it is now.
        ends: of the stretches, in seconds from now; one that a late query has taken is left out.
        clock: in seconds.
    """
    begun = clock()
    for end in ends:
        at = clock() - begun
        if at >= end:
            continue
        parts, seen = list[Timed](), list[Conditions]()
        while (left := begun + end - clock()) > 0:
            parts.append(series.part(_ENDLESS, min(PART_S, left)))
            seen.append(look())
        yield _stretch(at, parts, seen)


def _stretch(at: float, parts: Sequence[Timed], seen: Sequence[Conditions]) -> Stretch:
    ordered = sorted(ns for part in parts for ns in part.ns)
    is_carried = len(ordered) >= fewest_queries(CARRIED)
    samples = [] if is_carried else [ns for part in parts for ns in part.ns]
    clocks = [look.frequency_mhz for look in seen if look.frequency_mhz is not None]
    return Stretch(
        at_s=round(at, 3),
        seconds=sum(part.span_ns for part in parts) / _NS_PER_S,
        n=len(ordered),
        p50_ms=statistics.median(ordered) * _MS_PER_NS,
        p95_ms=nearest_rank(ordered, CARRIED) * _MS_PER_NS if is_carried else None,
        max_ms=ordered[-1] * _MS_PER_NS,
        samples_us=" ".join(f"{ns * _US_PER_NS:.{_DIGITS}f}" for ns in samples),
        conditions=replace(
            worst_of(seen), at=DURING, frequency_mhz=statistics.median(clocks) if clocks else None
        ),
    )
