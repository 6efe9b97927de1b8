"""What ships and why: the bundles that could, what is known of each, and the one that does.

The rule is short. Of the bundles that keep the accuracy limit the fastest ships, and lower
precision counts as faster only where the whole confidence interval of its ratio to FP32 of the
same format says so: otherwise it costs accuracy for nothing. Where nothing was timed, the smallest
ships, and between formats of one precision what others published decides, which is said. No torch
is imported here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from foundation.files import write_json
from foundation.records import as_dict, read_record
from foundation.sense import at_least, named
from pipeline.exporting.candidates import (
    FULL,
    ShippingCandidate,
    Speedup,
    keeps_limit,
    latency_of,
    size_of,
    speedup_of,
)
from pipeline.exporting.reasons import advice_for, reason_for

__all__ = [
    "Choice", "Shipping", "ShippingCandidate", "Speedup", "choose", "keeps_limit", "read_shipping",
    "speedup_of", "write_shipping",
]  # fmt: skip

SCHEMA_VERSION = 1
KIND = "shipping"

_AGAIN = "run `compress export` again"


class Choice(NamedTuple):
    """What `choose` found.

    Attributes:
        chosen: the bundle's name.
        met: whether it keeps the limit.
        reason: one sentence.
        advice: what to try for more, if there is something.
    """

    chosen: str
    met: bool
    reason: str
    advice: str | None


@dataclass(frozen=True, kw_only=True)
class Shipping:
    """The content of `shipping.json`.

    Attributes:
        target: that the candidates were made for.
        max_drop: percentage points that accuracy may fall below FP32; None for no limit.
        chosen, met, reason, advice: see `Choice`.
        measured_on: the host; None where none was at hand.
        candidates: all that were looked at and stand as bundles.
        trials: bundles that were made and evaluated on the way.
        seconds: that the search took.
        notes: what did not go as it should on the way, and why.
    """

    schema_version: int = SCHEMA_VERSION
    kind: str = KIND
    target: str
    max_drop: float | None
    chosen: str
    met: bool
    reason: str
    advice: str | None
    measured_on: str | None
    candidates: list[ShippingCandidate]
    trials: int
    seconds: float
    notes: list[str] = field(default_factory=list)

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from named(target=self.target, measured_on=self.measured_on)
        yield from at_least(0, max_drop=self.max_drop, trials=self.trials, seconds=self.seconds)
        if self.chosen not in {candidate.bundle for candidate in self.candidates}:
            yield f"{self.chosen!r} is no candidate"

    @property
    def ships(self) -> ShippingCandidate:
        """The candidate that was chosen."""
        return next(candidate for candidate in self.candidates if candidate.bundle == self.chosen)


def write_shipping(path: Path, shipping: Shipping) -> None:
    """Write the record as JSON, in one step."""
    write_json(path, as_dict(shipping))


def read_shipping(path: Path) -> Shipping:
    """Read a record that `write_shipping` wrote.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is anything else, or what it chose is no candidate.
    """
    return read_record(path, Shipping, "a shipping record", _AGAIN)


def choose(
    candidates: Sequence[ShippingCandidate],
    max_drop: float | None,
    *,
    trained_in_int8: bool = False,
) -> Choice:
    """The bundle to ship: the fastest that keeps the limit; the smallest, where none was timed, or
    of those in its precision the one that is published as the fastest on such a core.

    Lower precision that was not shown to be faster than FP32 does not stand in for it. When
    no candidate keeps the limit, the one that comes closest to it ships: there is always one.

    Args:
        candidates: FP32 among them.
        max_drop: the limit that `meets_limit` speaks of, in percentage points.
        trained_in_int8: whether a stage did; then none is advised.

    Raises:
        ValueError: when there are no candidates.
    """
    if not candidates:
        raise ValueError("there must be candidates, but got none")
    meeting = [candidate for candidate in candidates if candidate.meets_limit]
    timed = [candidate for candidate in meeting if candidate.p50_ms is not None]
    if not meeting:
        best = min(
            candidates,
            key=lambda candidate: (candidate.drop, latency_of(candidate), size_of(candidate)),
        )
    elif timed:
        not_slower = [
            candidate for candidate in timed if candidate.precision == FULL or candidate.is_faster
        ]
        best = min(
            not_slower or timed, key=lambda candidate: (latency_of(candidate), size_of(candidate))
        )
    else:
        best = _of_untimed(meeting)
    reason = reason_for(best, candidates, max_drop)
    advice = advice_for(best, candidates, max_drop, trained_in_int8=trained_in_int8)
    return Choice(best.bundle, best.meets_limit, reason, advice)


def _of_untimed(candidates: Sequence[ShippingCandidate]) -> ShippingCandidate:
    """The smallest; in its precision others stand in for it where they are known to be faster."""
    smallest = min(candidates, key=size_of)
    alike = [candidate for candidate in candidates if candidate.precision == smallest.precision]
    known = {
        candidate.bundle: candidate.published
        for candidate in alike
        if candidate.published is not None
    }
    if smallest.bundle not in known:
        return smallest
    return min(
        (candidate for candidate in alike if candidate.bundle in known),
        key=lambda candidate: (known[candidate.bundle], size_of(candidate)),
    )
