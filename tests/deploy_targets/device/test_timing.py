"""Percentiles by hand, and a clock that is ours to turn."""

import gc

import pytest

from deploy_targets.device.timing import (
    measure_throughput,
    percentile,
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


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(50, 50), (90, 90), (95, 95), (99, 99)],
)
def test_nearest_rank_of_one_to_a_hundred_is_the_percentage_itself(percent, expected):
    assert percentile(range(1, 101), percent) == expected


def test_nearest_rank_takes_a_sample_and_never_goes_between_two():
    assert percentile([10.0, 20.0, 30.0, 40.0, 1000.0], 50) == 30.0
    assert percentile([10.0, 20.0, 30.0, 1000.0], 50) == 20.0
    assert percentile([float(i) for i in range(1, 12)], 90) == 10.0  # rank ceil(9.9)


@pytest.mark.parametrize(("percent", "needed"), [(50, 2), (90, 10), (95, 20), (99, 100)])
def test_a_percentile_is_none_until_the_sample_can_carry_it(percent, needed):
    assert percentile([1.0] * (needed - 1), percent) is None
    assert percentile([1.0] * needed, percent) == 1.0


def test_the_summary_is_in_milliseconds_and_sorts_its_samples():
    latency = summarise([3 * MS, 1 * MS, 2 * MS, 6 * MS], warmup_n=7)
    assert (latency.min, latency.mean, latency.max) == (1.0, 3.0, 6.0)
    assert (latency.p50, latency.p90, latency.p95, latency.p99) == (2.0, None, None, None)
    assert (latency.n, latency.warmup_n) == (4, 7)


def test_warming_up_ends_when_two_windows_of_ten_agree():
    clock = Clock()
    assert warm_up(clock.taking(5), max_seconds=60, clock=clock) == 20


def test_warming_up_goes_on_while_calls_get_faster():
    clock = Clock()
    falling = [100 - 2 * i for i in range(40)]
    n = warm_up(clock.taking(*falling, 20), max_seconds=60, clock=clock)
    assert n > 40


def test_warming_up_is_bounded_in_time():
    clock = Clock()
    # Doubles with each call, so it is never steady: 1 + 2 + 4 + ... + 512 ms is over a second.
    assert warm_up(clock.taking(*[2**i for i in range(60)]), max_seconds=1, clock=clock) == 10


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
