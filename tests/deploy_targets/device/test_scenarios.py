"""How queries come, by what they do to a model that only counts or sleeps."""

import itertools
import threading
import time

import numpy as np
import pytest

from deploy_targets.device.jobs import Done, Job
from deploy_targets.device.messages import Scenario
from deploy_targets.device.scenarios import Arrivals, arrivals, series_of, time_parts
from deploy_targets.device.timing import PART_S

IMAGES = [np.array([i]) for i in range(3)]


def series(scenario, *lanes, seed=0, done=0):
    job = Job(
        bundle="bundle", runtime="runtime", scenario=scenario.name, batch=scenario.batch,
        streams=scenario.streams, rate=scenario.rate, seed=seed, done=Done(queries=done),
    )  # fmt: skip
    return series_of(job, lanes, IMAGES, job.done.queries)


class Model:
    """Remembers what it was asked, and how many asked at once."""

    def __init__(self, seconds=0.0):
        self.seconds, self.asked, self.at_once, self.most = seconds, [], 0, 0
        self.lock = threading.Lock()

    def __call__(self, batch):
        with self.lock:
            self.asked.append(int(batch[0]))
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        time.sleep(self.seconds)
        with self.lock:
            self.at_once -= 1


def test_single_stream_asks_one_after_another_and_all_batches_in_turns():
    model = Model()
    part = series(Scenario(), model).part(7, 60)
    assert len(part.ns) == 7
    assert part.span_ns >= sum(part.ns)
    # One more than is timed: the first after a pause.
    assert model.asked == [0, 1, 2, 0, 1, 2, 0, 1]
    assert model.most == 1


def test_a_part_ends_with_its_time_but_has_a_sample():
    assert len(series(Scenario(), Model()).part(10**9, 0.0).ns) == 1


def test_multi_stream_asks_all_lanes_at_once_and_a_sample_lasts_until_the_last_answers():
    slow, quick = Model(0.03), Model()
    part = series(Scenario("multi-stream", streams=2), quick, slow).part(4, 60)
    assert len(part.ns) == 4
    assert min(part.ns) >= 0.03e9
    assert len(quick.asked) == len(slow.asked) == 5


def test_offline_keeps_all_lanes_busy():
    model = Model(0.01)
    part = series(Scenario("offline", 1, 3), model, model, model).part(30, 60)
    assert len(part.ns) == 30
    assert model.most == 3
    # Three at a time, so the whole is shorter than the sum by far.
    assert part.span_ns < 0.7 * sum(part.ns)


def test_a_server_counts_from_when_a_query_came_and_not_from_when_it_was_its_turn():
    # They come faster than they are answered, so each waits for those before it.
    part = series(Scenario("server", rate=1000.0), Model(0.01)).part(20, 60)
    assert part.ns[-1] > part.ns[0] + 10 * 0.01e9 * 0.5
    assert part.ns[-1] > 0.1e9


def test_a_server_that_is_quick_enough_waits_for_queries():
    part = series(Scenario("server", rate=200.0), Model(), seed=3).part(40, 60)
    came = list(itertools.islice(arrivals(200.0, 3), 40))
    assert part.span_ns >= came[-1]
    # Whatever else the machine does, many of them find it idle.
    assert sorted(part.ns)[10] < came[-1] / 40


def test_arrivals_are_poissons_at_the_rate_and_follow_from_the_seed():
    came = list(itertools.islice(arrivals(50.0, 1), 20_000))
    gaps = np.diff(came) / 1e9
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.03)
    # Of an exponential distribution the deviation is the mean.
    assert gaps.std() == pytest.approx(1 / 50, rel=0.03)
    assert came[:9] == list(itertools.islice(arrivals(50.0, 1), 9))
    assert came[:9] != list(itertools.islice(arrivals(50.0, 2), 9))


def test_a_queue_goes_over_from_one_part_to_the_next():
    overloaded = series(Scenario("server", rate=1000.0), Model(0.01))
    first, second = overloaded.part(10, 60), overloaded.part(10, 60)
    assert second.ns[0] > first.ns[0]
    assert second.ns[-1] > first.ns[-1]


class Simulated:
    """Time that passes when a model computes or somebody sleeps, and a little at every look."""

    def __init__(self):
        self.ns = 0

    def clock(self):
        self.ns += 1000
        return self.ns

    def sleep(self, seconds):
        self.ns += int(seconds * 1e9)

    def model(self, seconds):
        return lambda: self.sleep(seconds)


@pytest.mark.parametrize("rate", [10_000.0, 510.0, 100.0, 40.0])
def test_a_server_keeps_to_its_time_however_fast_queries_come(rate):
    time_ = Simulated()
    lanes = [time_.model(0.002)]
    server = Arrivals(lanes, rate, 0, clock=time_.clock, sleep=time_.sleep)
    parts = list(time_parts(server, 10**9, 0.0, 4.0))
    spans = [part.span_ns / 1e9 for part in parts]
    # A part goes on for its last query, or until somebody comes.
    assert max(spans) < PART_S + 0.2
    assert 4.0 <= sum(spans) < 4.2
    assert time_.ns / 1e9 < 4.3
    answered = sum(len(part.ns) for part in parts)
    assert answered == pytest.approx(4.0 * min(rate, 500), rel=0.15)


def test_who_waits_when_a_part_is_over_is_the_next_ones():
    time_ = Simulated()
    server = Arrivals([time_.model(0.01)], 1000.0, 0, clock=time_.clock, sleep=time_.sleep)
    first, second = server.part(10**9, 0.5), server.part(10**9, 0.5)
    assert len(first.ns) == pytest.approx(50, abs=3)
    # About 500 came in the first half second and 50 were answered.
    assert second.ns[0] == pytest.approx(0.45e9, rel=0.1)


def test_time_is_cut_into_parts():
    parts = list(time_parts(series(Scenario(), Model(0.001)), 10, 2.2 * PART_S, 60))
    assert len(parts) == 3
    assert sum(part.span_ns for part in parts) >= 2.2 * PART_S * 1e9


def test_without_a_least_time_there_are_as_many_as_were_asked_for():
    (part,) = time_parts(series(Scenario(), Model()), 10, 0.0, 60)
    assert len(part.ns) == 10


def test_two_are_timed_even_when_there_is_no_time():
    parts = list(time_parts(series(Scenario(), Model(0.02)), 10, 1.0, 0.01))
    assert sum(len(part.ns) for part in parts) == 2
