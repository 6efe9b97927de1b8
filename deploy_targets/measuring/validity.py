"""Do the figures speak of the bundle, or of what else went on in the machine?

A measurement is suspect when one of the reasons below holds. Each is both unlikely by chance and
large enough to matter, for of many samples every trifle is "significant".
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from deploy_targets.device.messages import (
    DURING,
    SERVER,
    SUSPECT,
    VALID,
    Conditions,
    RuntimeUsed,
    Scenario,
    Timed,
    Validity,
    Warmed,
)
from deploy_targets.device.percentiles import fewest_queries, percentile_of

# A series is judged by the medians of its parts: of neighbours that share a moment, thousands
# are not thousands of witnesses.
PARTS = 20
FEWEST = 5 * PARTS
SIGNIFICANCE = 0.01
MATTERS = 0.05
_BURST, _MOST_BURSTS = 0.10, 0.2
_OTHERS, _CLOCK_FELL, _RATE_KEPT = 0.10, 0.90, 0.95
_SWAPPED_MB = 1.0

_PRECISIONS = {"fp32": "f32", "fp16": "f32", "bf16": "bf16", "int8": "int8"}
_TELLS = (
    "governor",
    "frequency_mhz",
    "temperature_c",
    "throttled",
    "other_cpu",
    "swap_mb",
    "held_back",
)


def judge(
    parts: Sequence[Timed],
    *,
    warmed: Sequence[Warmed],
    conditions: Sequence[Conditions],
    runtime: RuntimeUsed,
    scenario: Scenario,
    precision: str,
    power: dict[str, str] | None = None,
) -> Validity:
    """Whether a measurement is valid.

    Args:
        parts: samples in the order of time.
        warmed: of each process.
        conditions: of each process, before, during and after.
        runtime: what ran.
        scenario: how queries came.
        precision: of the bundle, such as "int8".
        power: settings that the target's profile asks for.
    """
    samples = [ns for part in parts for ns in part.ns]
    reasons = [
        *_cold(warmed),
        *_unsteady(samples),
        *_late(parts, scenario),
        *doubts_of_machine(conditions, power or {}),
        *wrong_precision(runtime, precision),
    ]
    unavailable = [
        name for name in _TELLS if all(getattr(moment, name) is None for moment in conditions)
    ]
    if len(samples) < FEWEST:
        unavailable.append(f"stationarity (needs {FEWEST} queries, had {len(samples)})")
    return Validity(SUSPECT if reasons else VALID, reasons, unavailable)


def change_point(values: Sequence[float]) -> tuple[int, float]:
    """Where a series changes its level, by Pettitt's rank test.

    Args:
        values: in the order of time.

    Returns:
        How many values lie before the change, and the chance that there is none.
    """
    n = len(values)
    # U[t] is how many of the pairs across t rise, less those that fall.
    differences = [
        abs(sum((a < b) - (a > b) for a in values[:t] for b in values[t:])) for t in range(1, n)
    ]
    largest = max(differences, default=0)
    chance = 2 * math.exp(-6 * largest**2 / (n**3 + n**2)) if n else 1.0
    return (differences.index(largest) + 1 if differences else 0), min(1.0, chance)


def wrong_precision(runtime: RuntimeUsed, precision: str) -> list[str]:
    """Why what ran is not what a bundle of that precision is; empty where it is."""
    ran, expected = runtime.executed_precision.summary, _PRECISIONS.get(precision)
    if ran == "unknown" or expected in {None, ran} or (expected == "f32" and ran == "f16"):
        return []
    # Some of its layers may have been kept in higher precision, even most.
    if expected == "int8" and {"u8", "i8"} & set(runtime.executed_precision.operators):
        return []
    if runtime.precision_hint == "auto" and precision != "int8":
        return []
    return [f"it ran in {ran}, though the bundle is {precision}"]


def _cold(warmed: Sequence[Warmed]) -> list[str]:
    if all(warmup.steady for warmup in warmed):
        return []
    return ["the time for warming up was over before queries stopped getting faster"]


def _unsteady(samples: Sequence[int]) -> list[str]:
    """Drift, steps and bursts of a series that is long enough."""
    n = len(samples)
    if n < FEWEST:
        return []
    medians = [statistics.median(part) for part in _cut(samples, PARTS)]
    at, chance = change_point(medians)
    before, after = statistics.median(medians[:at]), statistics.median(medians[at:])
    change = after / before - 1
    if chance < SIGNIFICANCE and abs(change) > MATTERS:
        return [f"latency changed by {change:+.0%} after query {n * at // PARTS:,} of {n:,}"]
    # Of parts that are long enough for a median with bounds.
    parts = _cut(samples, min(PARTS, n // fewest_queries(50)))
    middle = statistics.median(medians)
    away = sum(_is_away(part, middle) for part in parts)
    if away > _MOST_BURSTS * len(parts):
        return [
            f"latency was unsteady: in {away} of {len(parts)} parts of the time its median lay "
            f"more than {_BURST:.0%} from that of the whole"
        ]
    return []


def _cut(samples: Sequence[int], count: int) -> list[Sequence[int]]:
    bounds = [len(samples) * i // count for i in range(count + 1)]
    return [samples[bounds[i] : bounds[i + 1]] for i in range(count)]


def _is_away(part: Sequence[int], middle: float) -> bool:
    """Whether a part's median lies beside the middle, and not by the chance of its few samples."""
    median = percentile_of(sorted(part), 50)
    assert median is not None
    return median.low > middle * (1 + _BURST) or median.high < middle * (1 - _BURST)


def _late(parts: Sequence[Timed], scenario: Scenario) -> list[str]:
    seconds = sum(part.span_ns for part in parts) / 1e9
    if scenario.name != SERVER or scenario.rate is None or seconds == 0:
        return []
    reached = sum(len(part.ns) for part in parts) / seconds
    # So many arrivals at random are themselves uncertain by this share.
    chance = 3 / math.sqrt(max(1, sum(len(part.ns) for part in parts)))
    if reached >= scenario.rate * (_RATE_KEPT - chance):
        return []
    return [f"queries came at {scenario.rate:g} a second, but {reached:.3g} were answered"]


def doubts_of_machine(conditions: Sequence[Conditions], power: dict[str, str]) -> list[str]:
    """What of the machine's state spoils a measurement; empty where nothing does."""
    reasons = []
    others = [moment.other_cpu for moment in conditions if moment.other_cpu is not None]
    if others and max(others) > _OTHERS:
        reasons.append(f"other processes took {max(others):.0%} of the CPU")
    if any(moment.throttled for moment in conditions):
        hottest = [
            moment.temperature_c for moment in conditions if moment.temperature_c is not None
        ]
        at = f" (at {max(hottest):.0f} °C)" if hottest else ""
        reasons.append(f"the machine slowed itself down, for heat or want of power{at}")
    held_back = sum(moment.held_back or 0 for moment in conditions if moment.at == DURING)
    if held_back:
        times = "1 period" if held_back == 1 else f"{held_back} periods"
        reasons.append(
            f"the container's CPU quota was used up in {times}, and queries had to wait; give it "
            "more, or fewer threads"
        )
    # A clock may fall as soon as there is nothing to do, which is no matter.
    clocks = [
        (moment.frequency_mhz, moment.at)
        for moment in conditions
        if moment.frequency_mhz is not None
    ]
    highest = max((mhz for mhz, _ in clocks), default=0.0)
    lowest = min((mhz for mhz, at in clocks if at != "after"), default=highest)
    if lowest < highest * _CLOCK_FELL:
        reasons.append(f"the clock was as low as {lowest:.0f} MHz, and {highest:.0f} at best")
    swapped = [moment.swap_mb for moment in conditions if moment.swap_mb is not None]
    if swapped and swapped[-1] - swapped[0] > _SWAPPED_MB:
        reasons.append(f"{swapped[-1] - swapped[0]:.0f} MiB were swapped out meanwhile")
    governors = {moment.governor for moment in conditions if moment.governor is not None}
    if "governor" in power and governors and governors != {power["governor"]}:
        names = ", ".join(sorted(governors))
        reasons.append(f"the governor was {names}; the target's profile has {power['governor']}")
    return reasons
