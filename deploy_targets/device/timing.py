"""The timing protocol: warm up until steady, then time single queries one by one.

Nothing here knows what is called or which clock ticks, so all of it can be worked
out by hand.
"""

from __future__ import annotations

import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

from deploy_targets.device.messages import Latency, Throughput

Clock = Callable[[], int]

# Below two there is no spread to speak of, and no median either.
MIN_QUERIES = 2
MIN_BATCHES = 3
_WINDOW = 10
_STEADY_WITHIN = 0.05
_NS_PER_MS = 1e6
_NS_PER_S = 1e9


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """The nearest-rank percentile: the smallest value with `percent` % of all at or below it.

    Args:
        ordered: values in ascending order.
        percent: 1 to 99.

    Returns:
        One of the values, or None when they are fewer than 100 / (100 - percent): then
        the rank is that of the largest, which says nothing about the tail.
    """
    if len(ordered) * (100 - percent) < 100:
        return None
    rank = -(-percent * len(ordered) // 100)
    return ordered[rank - 1]


def summarise(samples_ns: Sequence[int], warmup_n: int) -> Latency:
    """Percentiles, mean and range, in milliseconds, of at least one sample in nanoseconds."""
    ordered = sorted(sample / _NS_PER_MS for sample in samples_ns)
    return Latency(
        p50=percentile(ordered, 50),
        p90=percentile(ordered, 90),
        p95=percentile(ordered, 95),
        p99=percentile(ordered, 99),
        mean=statistics.fmean(ordered),
        min=ordered[0],
        max=ordered[-1],
        n=len(ordered),
        warmup_n=warmup_n,
    )


def warm_up(
    call: Callable[[], object], max_seconds: float, clock: Clock = time.perf_counter_ns
) -> int:
    """Call until the median of ten calls is within 5 % of that of the ten before.

    Returns:
        The number of calls; at least one, and no new one after `max_seconds`.
    """
    started, samples = clock(), list[int]()
    while True:
        samples.append(_timed(call, clock))
        if len(samples) % _WINDOW == 0 and _is_steady(samples):
            return len(samples)
        if clock() - started >= max_seconds * _NS_PER_S:
            return len(samples)


def time_queries(
    call: Callable[[], object],
    queries: int,
    max_seconds: float,
    clock: Clock = time.perf_counter_ns,
) -> list[int]:
    """Nanoseconds of each of up to `queries` calls; at least two, even after `max_seconds`."""
    started, samples = clock(), list[int]()
    with _no_collection():
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

    One call before them is not counted: a new batch size makes a runtime plan anew.
    """
    call()
    started, batches = clock(), 0
    with _no_collection():
        while True:
            call()
            batches += 1
            elapsed = clock() - started
            if batches >= MIN_BATCHES and elapsed >= max_seconds * _NS_PER_S:
                return Throughput(batch, batches * batch / (elapsed / _NS_PER_S))


def _timed(call: Callable[[], object], clock: Clock) -> int:
    started = clock()
    call()
    return clock() - started


def _is_steady(samples: Sequence[int]) -> bool:
    if len(samples) < 2 * _WINDOW:
        return False
    before = statistics.median(samples[-2 * _WINDOW : -_WINDOW])
    now = statistics.median(samples[-_WINDOW:])
    return abs(now - before) <= _STEADY_WITHIN * before


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python's garbage collector out of the samples: a pause of it is not the model's."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
