"""Does a bundle hold its speed under load? The last third of the time against its first seconds.

Speed is the inverse of latency. Of each stretch of the time counts the median, so that single slow
queries weigh nothing. The ratio of the last third's speed to the opening's is Hodges and Lehmann's
estimate with the bounds of Mann and Whitney's rank-sum test, each at 99 %, widened by what
neighbours in time share. Neither part is chosen by looking at the figures.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from deploy_targets.device.stretches import Stretch
from deploy_targets.intervals import (
    CONFIDENCE,
    Interval,
    neighbours_correlation,
    rank_sum_interval,
)
from deploy_targets.sustained import (
    FALLS,
    HOLDS,
    LOST,
    SETTLES,
    UNDECIDED,
    Holding,
    SpeedRatio,
    last_part,
)

# Over how many stretches a burst is smoothed away when it is asked since when the level stays.
_WINDOW = 5


def holding_of(stretches: Sequence[Stretch], opening_s: float) -> Holding:
    """What a series says of the speed.

    Args:
        stretches: in the order of time, at least one.
        opening_s: how long the opening lasts.
    """
    opening, last = _opening(stretches, opening_s), last_part(stretches)
    at_first, at_last, half = _level(opening), _level(last), len(last) // 2
    correlation = neighbours_correlation([at_first, at_last])
    speed = _ratio(at_first, at_last, correlation)
    at_end = _ratio(at_last[:half], at_last[half:], correlation)
    since = _settled_since(stretches, last)
    verdict, reason = _verdict(speed, at_end, is_settled=since is not None)
    return Holding(
        verdict=verdict,
        reason=reason,
        speed=speed,
        at_end=at_end,
        correlation=correlation,
        settled_after_s=since if verdict == SETTLES else None,
        opening_ms=_median_ms(opening),
        last_ms=_median_ms(last),
        opening_mhz=_median_mhz(opening),
        last_mhz=_median_mhz(last),
        hottest_c=max((c for s in stretches if (c := s.conditions.temperature_c) is not None),
                      default=None),
        throttled_s=_throttled_s(stretches),
    )  # fmt: skip


def _opening(stretches: Sequence[Stretch], opening_s: float) -> Sequence[Stretch]:
    return [stretch for stretch in stretches if stretch.at_s < opening_s - 1e-3]


def _level(part: Sequence[Stretch]) -> list[float]:
    """Logarithms of latencies: their differences are ratios."""
    return [math.log(stretch.p50_ms) for stretch in part]


def _ratio(
    before: Sequence[float], after: Sequence[float], correlation: float
) -> SpeedRatio | None:
    shift: Interval | None = rank_sum_interval(before, after, CONFIDENCE, correlation)
    if shift is None:
        return None
    return SpeedRatio(*(math.exp(-value) for value in (shift.estimate, shift.high, shift.low)))


def _settled_since(stretches: Sequence[Stretch], last: Sequence[Stretch]) -> float | None:
    """When the latency came to where it stays, seconds from the beginning; None where it does not.

    From then on, medians of neighbours lie no farther from the last part's than what matters.
    """
    if not last:
        return None
    levels = _level(stretches)
    level, reach = statistics.median(_level(last)), _WINDOW // 2
    since: float | None = None
    for place in reversed(range(len(levels))):
        around = levels[max(0, place - reach) : place + reach + 1]
        if abs(statistics.median(around) - level) > -math.log(LOST):
            break
        since = stretches[place].at_s
    is_in_time = since is not None and since <= last[0].at_s
    return since if is_in_time else None


def _verdict(
    speed: SpeedRatio | None, at_end: SpeedRatio | None, *, is_settled: bool
) -> tuple[str, str]:
    if speed is None:
        return UNDECIDED, "too few stretches of time for a test; keep it at work for longer"
    # Half of the last part against the other is half of what the whole part loses.
    if at_end is not None and at_end.high < 1 and at_end.estimate < math.sqrt(LOST):
        return FALLS, "it still gets slower at the end; keep it at work for longer"
    if speed.low > 1 / LOST:
        return UNDECIDED, (
            "it was slower in its first seconds than later, so they do not tell its full speed; "
            "begin when nothing else is at work"
        )
    if speed.low >= LOST:
        return HOLDS, ""
    if speed.high < LOST:
        return SETTLES, "" if is_settled else "its latency keeps changing, and stays nowhere"
    return UNDECIDED, (
        f"whether it loses more than {1 - LOST:.0%} lies within what is uncertain; keep it at work "
        "for longer, with nothing else"
    )


def _median_ms(part: Sequence[Stretch]) -> float | None:
    return statistics.median(stretch.p50_ms for stretch in part) if part else None


def _median_mhz(part: Sequence[Stretch]) -> float | None:
    clocks = [mhz for s in part if (mhz := s.conditions.frequency_mhz) is not None]
    return statistics.median(clocks) if clocks else None


def _throttled_s(stretches: Sequence[Stretch]) -> float | None:
    """Seconds of the stretches in which the machine slowed itself down; None where it is mute."""
    told = [stretch for stretch in stretches if stretch.conditions.throttled is not None]
    return (
        sum(stretch.seconds for stretch in told if stretch.conditions.throttled) if told else None
    )
