"""How queries come: MLPerf's four scenarios, as endless series of samples.

A series times a part when it is asked for one, so that between two parts samples can be sent
away and the machine looked at. Nothing of that is within a sample.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from deploy_targets.device.messages import MULTI_STREAM, OFFLINE, SERVER, Timed
from deploy_targets.device.timing import MIN_QUERIES, PART_S, Clock, no_collection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploy_targets.device.options import SamplingOptions
    from deploy_targets.device.runtimes import Run

Query = Callable[[], object]


class Series(Protocol):
    """Where samples come from."""

    def part(self, queries: int, seconds: float) -> Timed:
        """Time up to `queries`, at least one, and begin no new one after `seconds`."""
        ...


# A sleep may end late by about this much; the rest of the time is waited for awake.
_LATE_NS = 2_000_000
_NS_PER_S = 1e9
_ENDLESS = 2**62


def time_parts(
    series: Series, queries: int, min_seconds: float, max_seconds: float
) -> Iterator[Timed]:
    """Parts of `queries` samples in all, of more in a short time, of fewer in a long one.

    Args:
        series: where samples come from.
        queries: to time; at least two are, however long they take.
        min_seconds: of timed queries.
        max_seconds: of timed queries; no new one begins after that.
    """
    n, spent = 0, 0.0
    while n < MIN_QUERIES or (spent < max_seconds and (n < queries or spent < min_seconds)):
        if spent >= max_seconds:
            most, seconds = MIN_QUERIES - n, 0.0
        elif n < queries:
            most = queries - n if spent + PART_S >= min_seconds else _ENDLESS
            seconds = min(PART_S, max_seconds - spent)
        else:
            most, seconds = _ENDLESS, min(PART_S, min_seconds - spent, max_seconds - spent)
        part = series.part(most, seconds)
        n, spent = n + len(part.ns), spent + part.span_ns / _NS_PER_S
        yield part


def series_of(
    options: SamplingOptions,
    lanes: Sequence[Run],
    batches: Sequence[NDArray[Any]],
    timed_before: int = 0,
) -> Series:
    """The series of a scenario.

    Args:
        options: the scenario, and its seed.
        lanes: as many ways to run the model as the scenario has streams.
        batches: what is asked, in turns.
        timed_before: queries that an earlier process timed.
    """
    inputs, scenario = itertools.cycle(batches), options.full_scenario()
    calls: list[Query] = [_query(lane, inputs) for lane in lanes]
    if scenario.name == MULTI_STREAM:
        return OneByOne(_Together(calls))
    if scenario.name == OFFLINE:
        return Offline(calls)
    if scenario.name == SERVER:
        return Arrivals(calls, scenario.rate or 1.0, options.seed + timed_before)
    return OneByOne(calls[0])


def _query(lane: Run, inputs: Iterator[NDArray[Any]]) -> Query:
    return lambda: lane(next(inputs))


class OneByOne:
    """A query, and when it is answered the next."""

    def __init__(self, query: Query) -> None:
        self._query = query

    def part(self, queries: int, seconds: float) -> Timed:
        self._query()  # what was done between two parts has taken the caches
        query, clock, limit = self._query, time.perf_counter_ns, seconds * _NS_PER_S
        samples: list[int] = []
        with no_collection():
            started = ended = clock()
            while len(samples) < queries:
                begun = clock()
                query()
                ended = clock()
                samples.append(ended - begun)
                if ended - started >= limit:
                    break
        return Timed(samples, ended - started)


class _Together:
    """Several queries at once; it is over when all are answered."""

    def __init__(self, calls: Sequence[Query]) -> None:
        self._first, *self._others = calls
        self._pool = ThreadPoolExecutor(max(1, len(self._others)))

    def __call__(self) -> None:
        futures = [self._pool.submit(call) for call in self._others]
        self._first()
        for future in futures:
            future.result()


class Offline:
    """All queries are there: each lane takes the next as soon as it has answered one."""

    def __init__(self, lanes: Sequence[Query]) -> None:
        self._lanes = lanes

    def part(self, queries: int, seconds: float) -> Timed:
        samples: list[int] = []
        tickets = iter(range(queries))
        clock, limit = time.perf_counter_ns, seconds * _NS_PER_S

        def work(query: Query) -> None:
            for _ in tickets:
                begun = clock()
                query()
                ended = clock()
                samples.append(ended - begun)
                if ended - started >= limit:
                    return

        self._lanes[0]()
        with no_collection():
            started = clock()
            _on_each(self._lanes, work)
            return Timed(samples, clock() - started)


class Arrivals:
    """Queries come at random (Poisson), and wait while all lanes are busy.

    A sample counts from when the query came, and not from when a lane was free: it is what a
    user waits. The times at which queries come follow from the seed alone. Between two parts
    time stands still: whoever was waiting waits on, and nobody comes.

    A part ends with its time even where queries come faster than they are answered: whoever waits
    then is the next part's.

    Args:
        lanes: that answer.
        rate: queries a second, on average.
        seed: of the times.
        clock: in nanoseconds.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        lanes: Sequence[Query],
        rate: float,
        seed: int,
        *,
        clock: Clock = time.perf_counter_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._lanes, self._clock, self._sleep = lanes, clock, sleep
        self._arrivals = arrivals(rate, seed)
        self._next_ns = next(self._arrivals)
        self._now_ns = 0

    def part(self, queries: int, seconds: float) -> Timed:
        samples: list[int] = []
        clock, lock = self._clock, threading.Lock()
        begun_ns, limit_ns, left = self._now_ns, self._now_ns + int(seconds * _NS_PER_S), queries

        def take() -> int | None:
            """When the next comes; None if it is not of this part."""
            nonlocal left
            with lock:
                first = left == queries
                late = max(self._next_ns, clock() - origin) > limit_ns
                if left == 0 or (late and not first):
                    return None
                left -= 1
                came, self._next_ns = self._next_ns, next(self._arrivals)
                return came

        def work(query: Query) -> None:
            while (came := take()) is not None:
                self._wait_until(origin + came)
                query()
                samples.append(clock() - (origin + came))

        self._lanes[0]()
        with no_collection():
            origin = clock() - begun_ns
            _on_each(self._lanes, work)
            self._now_ns = clock() - origin
        return Timed(samples, self._now_ns - begun_ns)

    def _wait_until(self, moment_ns: int) -> None:
        while (left := moment_ns - self._clock()) > 0:
            if left > _LATE_NS:
                self._sleep((left - _LATE_NS) / _NS_PER_S)


def arrivals(rate: float, seed: int) -> Iterator[int]:
    """When queries come, nanoseconds from the beginning, for ever.

    Args:
        rate: queries a second, on average.
        seed: of the times.
    """
    draw, at = random.Random(seed), 0.0
    while True:
        at += draw.expovariate(rate)
        yield int(at * _NS_PER_S)


def _on_each(lanes: Sequence[Query], work: Callable[[Query], None]) -> None:
    """Work on all lanes at once, each in a thread of its own; on a single one in this thread."""
    if len(lanes) == 1:
        work(lanes[0])
        return
    with ThreadPoolExecutor(len(lanes)) as pool:
        for done in [pool.submit(work, lane) for lane in lanes]:
            done.result()
