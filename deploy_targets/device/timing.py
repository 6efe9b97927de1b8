"""The timing protocol: warm up until steady, then time single queries one by one.

Nothing here knows what is called or which clock ticks, so all of it can be worked
out by hand.
"""

from __future__ import annotations

import contextlib
import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

from deploy_targets.device.messages import Latency, Throughput, Warmed
from deploy_targets.device.percentiles import percentile_of

Clock = Callable[[], int]

# Below two there is no spread to speak of, and no median either.
MIN_QUERIES = 2
MIN_BATCHES = 3
PERCENTS = (50.0, 90.0, 95.0, 99.0)
# Parts are sent away; a part lasts as long as may be lost when a link is cut.
PART_S = 0.5
_WINDOW = 10
_WINDOW_NS = 50_000_000
_GAIN = 0.02
_WINDOWS_WITHOUT_GAIN = 3
_NS_PER_MS = 1e6
_NS_PER_S = 1e9


def summarise(
    samples_ns: Sequence[int], warmup_n: int, percents: Sequence[float] = PERCENTS
) -> Latency:
    """Percentiles, mean and range, in milliseconds, of at least one sample in nanoseconds."""
    ordered = sorted(sample / _NS_PER_MS for sample in samples_ns)
    estimates = {f"p{percent:g}": percentile_of(ordered, percent) for percent in percents}
    return Latency(
        percentiles={
            name: estimate for name, estimate in estimates.items() if estimate is not None
        },
        mean=statistics.fmean(ordered),
        min=ordered[0],
        max=ordered[-1],
        n=len(ordered),
        warmup_n=warmup_n,
    )


def warm_up(
    call: Callable[[], object], max_seconds: float, clock: Clock = time.perf_counter_ns
) -> Warmed:
    """Call until calls no longer get faster.

    Warming up is getting faster: caches and branch predictors fill, pools of threads start, the
    clock rises. So it is over when three windows in a row bring no median that is 2 % below the
    lowest before them. Noise cannot keep that from happening, as it could keep two windows from
    agreeing; and a machine that gets slower is not warming up, which is for the samples to tell.
    A window has ten calls at least and 50 ms, for clocks rise by time and not by calls.

    Returns:
        The calls, at least one, and no new one after `max_seconds`.
    """
    started, n, lowest, without_gain = clock(), 0, math.inf, 0
    while True:
        opened, window = clock(), list[int]()
        while len(window) < _WINDOW or clock() - opened < _WINDOW_NS:
            window.append(_timed(call, clock))
            n += 1
            if clock() - started >= max_seconds * _NS_PER_S:
                return Warmed(n, steady=False)
        median = statistics.median(window)
        without_gain = 0 if median < lowest * (1 - _GAIN) else without_gain + 1
        lowest = min(lowest, median)
        if without_gain == _WINDOWS_WITHOUT_GAIN:
            return Warmed(n, steady=True)


def time_queries(
    call: Callable[[], object],
    queries: int,
    max_seconds: float,
    clock: Clock = time.perf_counter_ns,
) -> list[int]:
    """Nanoseconds of each of up to `queries` calls; at least two, even after `max_seconds`."""
    started, samples = clock(), list[int]()
    with no_collection():
        while len(samples) < queries:
            samples.append(_timed(call, clock))
            late = clock() - started >= max_seconds * _NS_PER_S
            if late and len(samples) >= MIN_QUERIES:
                break
    return samples


def measure_throughput(
    call: Callable[[], object],
    batch: int,
    max_seconds: float,
    clock: Clock = time.perf_counter_ns,
) -> Throughput:
    """Images a second over `max_seconds` of calls of `batch` images each, at least three calls.

    It is that of the median call, with bounds from the calls' order; of few calls, their range.
    One call before them is not counted: a new batch size makes a runtime plan anew.
    """
    call()
    started, samples = clock(), list[int]()
    with no_collection():
        while len(samples) < MIN_BATCHES or clock() - started < max_seconds * _NS_PER_S:
            samples.append(_timed(call, clock))
    ordered = sorted(samples)
    median = percentile_of(ordered, 50)
    slowest, fastest = (median.high, median.low) if median else (ordered[-1], ordered[0])
    middle = median.value if median else statistics.median(ordered)
    rates = (batch * _NS_PER_S / ns for ns in (middle, slowest, fastest))
    return Throughput(batch, *rates)


def _timed(call: Callable[[], object], clock: Clock) -> int:
    started = clock()
    call()
    return clock() - started


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Keep Python's garbage collector out of the samples: a pause of it is not the model's."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
