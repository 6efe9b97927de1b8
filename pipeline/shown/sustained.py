"""A series under sustained load, as a table of its time and a line of what it comes to."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from deploy_targets.device.conditions import worst_of
from deploy_targets.device.messages import SUSPECT
from deploy_targets.device.stretches import Stretch
from deploy_targets.sustained import Sustained
from foundation.durations import span_words
from pipeline.shown.words import number, safe

_MOST_ROWS = 20
_CLOSE = 1e-6


@dataclass(frozen=True)
class TimeRow:
    """Neighbouring stretches together.

    Attributes:
        at_s: seconds from the beginning.
        p50_ms: median of their medians.
        p95_ms: median of their 95th percentiles; None where none carries one.
        speed: over that of the opening; None where that is not known.
        frequency_mhz, temperature_c, throttled, other_cpu: as `Conditions` has them.
    """

    at_s: float
    p50_ms: float
    p95_ms: float | None
    speed: float | None
    frequency_mhz: float | None
    temperature_c: float | None
    throttled: bool | None
    other_cpu: float | None


def time_rows(sustained: Sustained, most: int) -> list[TimeRow]:
    """The opening, then the rest of the time in so many rows at most, each of whole stretches."""
    opening = [s for s in sustained.stretches if s.at_s < sustained.opening_s - _CLOSE]
    rest = sustained.stretches[len(opening) :]
    width = max(1, math.ceil(len(rest) / most))
    groups = [rest[start : start + width] for start in range(0, len(rest), width)]
    return [_row(sustained, group) for group in ([opening] if opening else []) + groups]


def _row(sustained: Sustained, group: Sequence[Stretch]) -> TimeRow:
    seen = worst_of([stretch.conditions for stretch in group])
    p50 = statistics.median(stretch.p50_ms for stretch in group)
    tails = [stretch.p95_ms for stretch in group if stretch.p95_ms is not None]
    clocks = [mhz for s in group if (mhz := s.conditions.frequency_mhz) is not None]
    first = sustained.holding.opening_ms
    return TimeRow(
        at_s=group[0].at_s,
        p50_ms=p50,
        p95_ms=statistics.median(tails) if tails else None,
        speed=first / p50 if first else None,
        frequency_mhz=statistics.median(clocks) if clocks else None,
        temperature_c=seen.temperature_c,
        throttled=seen.throttled,
        other_cpu=seen.other_cpu,
    )


def sustained_parts(sustained: Sustained) -> Iterator[Table | str]:
    """The table of a series, then what it comes to, a line each."""
    name = f"{sustained.bundle.name} on {sustained.host.name}"
    table = Table(
        title=safe(f"At work for {span_words(sustained.lasted_s)}: {name}"),
        title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0),
    )  # fmt: skip
    for head in ("from", "p50 ms", "p95 ms", "speed", "MHz", "°C", "throttled", "others' CPU"):
        table.add_column(head, justify="right")
    for row in time_rows(sustained, _MOST_ROWS):
        table.add_row(
            safe(span_words(row.at_s)),
            number(row.p50_ms, 3),
            number(row.p95_ms, 3),
            "–" if row.speed is None else f"{row.speed:.0%}",
            number(row.frequency_mhz, 0),
            number(row.temperature_c, 1),
            "–" if row.throttled is None else "yes" if row.throttled else "no",
            "–" if row.other_cpu is None else f"{row.other_cpu:.0%}",
        )
    yield table
    yield from map(escape, sustained_lines(sustained))


def sustained_lines(sustained: Sustained) -> list[str]:
    """What a series comes to, how sure that is, and what speaks against it, a line each."""
    holding = sustained.holding
    lines = [f"{sustained.bundle.name}: {sustained.words}"]
    if holding.speed is not None:
        lines.append(
            f"speed: that of the last third of the time over that of its first "
            f"{span_words(sustained.opening_s)}, by the medians of {len(sustained.stretches)} "
            "stretches (Hodges and Lehmann; bounds of 99 % each by the rank-sum test, neighbours "
            f"correlate by {holding.correlation:.2f})"
        )
    facts = [
        f"clock {holding.opening_mhz:.0f} → {holding.last_mhz:.0f} MHz"
        if holding.opening_mhz is not None and holding.last_mhz is not None
        else "clock not told here",
        "temperature not told here"
        if holding.hottest_c is None
        else f"{holding.hottest_c:.0f} °C at most",
        "throttling not told here"
        if holding.throttled_s is None
        else f"throttled for {span_words(holding.throttled_s)}"
        if holding.throttled_s
        else "never throttled",
    ]
    lines.append("; ".join(facts))
    if sustained.validity.verdict == SUSPECT:
        lines.append(f"suspect: {'; '.join(sustained.validity.reasons)}")
    return lines
