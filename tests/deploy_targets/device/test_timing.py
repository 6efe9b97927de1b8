"""Percentiles by hand, and a clock that is ours to turn."""

import gc
import math
import random

import pytest

from deploy_targets.device.messages import Warmed
from deploy_targets.device.timing import (
    measure_throughput,
    summarise,
    time_queries,
    warm_up,
)

MS = 1_000_000


class Clock:
    """A clock that moves only when something is called."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def taking(self, *durations_ms: float):
        """A call that takes those durations in turn, then the last one for ever."""
        left = list(durations_ms)

        def call() -> None:
            self.now += int((left.pop(0) if len(left) > 1 else left[0]) * MS)

        return call


def test_the_summary_is_in_milliseconds_and_sorts_its_samples():
    latency = summarise([3 * MS, 1 * MS, 2 * MS, 6 * MS] * 3, warmup_n=7)
    assert (latency.min, latency.mean, latency.max) == (1.0, 3.0, 6.0)
    assert (latency.p50, latency.p90, latency.p95, latency.p99) == (2.0, None, None, None)
    assert (latency.n, latency.warmup_n) == (12, 7)


def test_a_percentile_is_in_the_summary_only_if_the_sample_carries_it():
    assert summarise([MS] * 10, 0).percentiles == {}
    assert list(summarise([MS] * 662, 0).percentiles) == ["p50", "p90", "p95", "p99"]
    assert list(summarise([MS] * 662, 0, [99.9, 75.0]).percentiles) == ["p75"]


def test_warming_up_ends_when_three_windows_bring_no_gain():
    clock = Clock()
    # The first window is what the others are held against; a window is ten calls here, of 5 ms.
    assert warm_up(clock.taking(5), max_seconds=60, clock=clock) == Warmed(40, steady=True)


def test_a_window_lasts_long_enough_for_a_clock_to_rise():
    clock = Clock()
    # 50 ms of calls of 0.5 ms.
    assert warm_up(clock.taking(0.5), max_seconds=60, clock=clock).n == 400


def test_warming_up_goes_on_while_calls_get_faster():
    clock = Clock()
    falling = [100 - i for i in range(80)]
    warmed = warm_up(clock.taking(*falling, 20), max_seconds=60, clock=clock)
    assert warmed.steady
    # The windows of 80 falling calls, and three in which nothing falls any more.
    assert warmed.n == 80 + 10 + 30


def test_noise_and_a_machine_that_gets_slower_do_not_keep_it_from_ending():
    clock, draw = Clock(), random.Random(1)
    noisy = [5 * math.exp(draw.gauss(0, 0.5)) for _ in range(1000)]
    assert warm_up(clock.taking(*noisy), max_seconds=60, clock=clock).n < 200
    slower = [5 + 0.1 * i for i in range(1000)]
    assert warm_up(clock.taking(*slower), max_seconds=60, clock=clock) == Warmed(40, steady=True)


def test_warming_up_is_bounded_in_time_and_says_so():
    clock = Clock()
    falling = [1000 * 0.99**i for i in range(1000)]
    assert warm_up(clock.taking(*falling), max_seconds=8, clock=clock) == Warmed(9, steady=False)
    assert warm_up(clock.taking(5), max_seconds=0, clock=clock) == Warmed(1, steady=False)


def test_as_many_queries_are_timed_as_were_asked_for():
    clock = Clock()
    assert time_queries(clock.taking(4, 2, 3), 3, max_seconds=60, clock=clock) == [
        4 * MS,
        2 * MS,
        3 * MS,
    ]


def test_queries_stop_when_time_is_up():
    clock = Clock()
    assert len(time_queries(clock.taking(100), 1000, max_seconds=1, clock=clock)) == 10


def test_a_call_slower_than_all_the_time_is_still_timed_twice():
    clock = Clock()
    assert len(time_queries(clock.taking(5000), 1000, max_seconds=1, clock=clock)) == 2


def test_the_garbage_collector_rests_while_queries_are_timed_and_is_woken_after():
    seen = []
    time_queries(lambda: seen.append(gc.isenabled()), 3, max_seconds=60)
    assert seen == [False] * 3
    assert gc.isenabled()


def test_throughput_counts_images_and_leaves_the_first_batch_out():
    clock = Clock()
    # The first takes a second and is not counted; ten of 100 ms with 8 images each are.
    throughput = measure_throughput(clock.taking(1000, 100), batch=8, max_seconds=1, clock=clock)
    assert throughput.batch == 8
    assert throughput.images_per_s == pytest.approx(80)


def test_throughput_runs_at_least_three_batches_however_slow():
    clock = Clock()
    assert measure_throughput(clock.taking(2000), 1, 1, clock).images_per_s == pytest.approx(0.5)
    assert clock.now == 4 * 2000 * MS
