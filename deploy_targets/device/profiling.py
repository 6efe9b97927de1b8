"""The profiling process: `python -m deploy_targets.device.profiling`, one job, one bundle.

It reads a `ProfileJob` as JSON from standard input and says where the time of an inference goes.
The runtime profiles a session of its own, beside one that nobody profiles: noting times takes time,
and by how much an inference gets slower for it is measured and told. No latency comes from here.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from deploy_targets.device import facts, timing
from deploy_targets.device.channel import Emit, exit_code_of, take_standard_output, tell_progress
from deploy_targets.device.engine import InferenceEngine, load_engine
from deploy_targets.device.jobs import ProfileJob
from deploy_targets.device.operator_times import NotedTimes, Profiled, Untold, calm_half
from deploy_targets.device.runtimes import Profiler
from foundation.records import as_dict, build

# Shares of the time: warming up, then in each round inferences without profile, and with.
_WARMUP_SHARE, _PLAIN_SHARE, _NOTED_SHARE = 0.2, 0.2, 0.5
# Of profiled ones. Few, for a runtime that tells a mean over all runs in whole microseconds is off
# by a microsecond for each; the machine is warm by then.
_WARMUPS, _WARMUPS_SHARE = 3, 0.1
_ROUNDS = 5
_MS_PER_NS = 1e-6


@dataclass(frozen=True)
class _Round:
    """What came of one profiled session, and of the other one just before it: nanoseconds."""

    plain_ns: list[int]
    noted_ns: list[int]
    warmup_n: int
    noted: NotedTimes

    @property
    def whole_ns(self) -> float:
        """The mean of the runs that count, from outside."""
        return statistics.fmean(self.noted_ns[place] for place in self.noted.counted)


def main() -> int:
    """Do the job on standard input; the exit code is 0 or that of the error."""
    emit = take_standard_output()
    return exit_code_of(lambda: profile_bundle(build(ProfileJob, json.load(sys.stdin)), emit), emit)


def profile_bundle(job: ProfileJob, emit: Emit) -> None:
    """Profile one bundle in this process, which must not have run another engine.

    Raises:
        CompressError: of the kind that fits, when bundle or runtime is at fault.
    """
    emit({"kind": "facts", **asdict(facts.collect())})
    tell_progress(emit, "loading")
    engine = load_engine(job)
    profiler = engine.session.profiler()
    if isinstance(profiler, Untold):
        profiled = Profiled(engine.used(), untold=profiler.reason)
    else:
        profiled = _profiled(job, engine, profiler, emit)
    emit({"kind": "profiled", **as_dict(profiled)})


def _profiled(job: ProfileJob, engine: InferenceEngine, first: Profiler, emit: Emit) -> Profiled:
    """Rounds of a fresh profiled session each, of which the least disturbed is told of.

    A runtime may tell nothing but means, and one inference in which the system let another process
    go first can be more than all others together.
    """
    questions, ended = engine.questions, time.monotonic() + job.max_seconds
    queries = itertools.cycle([questions.query(1, i) for i in range(len(questions))])

    def plainly() -> Any:
        return engine.session.run(next(queries))

    tell_progress(emit, "warming up")
    timing.warm_up(plainly, job.max_seconds * _WARMUP_SHARE)
    tell_progress(emit, "timing")
    rounds = [_round(job, plainly, first, queries)]
    while len(rounds) < _ROUNDS and time.monotonic() < ended:
        profiler = engine.session.profiler()
        assert not isinstance(profiler, Untold), "it told before"
        rounds.append(_round(job, plainly, profiler, queries))
    best = min(rounds, key=lambda one: one.whole_ns)
    noted = [ns for one in rounds for ns in one.noted_ns]
    plain = [ns for one in rounds for ns in one.plain_ns]
    return Profiled(
        runtime=engine.used(),
        operators=best.noted.operators,
        runs=len(best.noted.counted),
        warmup_n=best.warmup_n,
        rounds=len(rounds),
        whole_ms=best.whole_ns * _MS_PER_NS,
        whole_median_ms=_calm_median(noted) * _MS_PER_NS,
        unprofiled_ms=_calm_median(plain) * _MS_PER_NS,
        not_run=best.noted.not_run,
    )


def _calm_median(taken_ns: Sequence[int]) -> float:
    """Of the faster half, of profiled runs and of others: what else goes on is no part of it."""
    return statistics.median(taken_ns[place] for place in calm_half(taken_ns))


def _round(
    job: ProfileJob, plainly: Callable[[], Any], profiler: Profiler, queries: Iterator[Any]
) -> _Round:
    """Inferences without profile, then as many with it: should the machine get slower meanwhile,
    both kinds have their share of it."""
    runs, seconds = max(timing.MIN_QUERIES, job.runs // _ROUNDS), job.max_seconds / _ROUNDS

    def noted() -> Any:
        return profiler.run(next(queries))

    plain_ns = timing.time_queries(plainly, runs, seconds * _PLAIN_SHARE)
    warmup_n = len(timing.time_queries(noted, _WARMUPS, seconds * _WARMUPS_SHARE))
    profiler.begin(warmup_n)
    noted_ns = timing.time_queries(noted, runs, seconds * _NOTED_SHARE)
    return _Round(plain_ns, noted_ns, warmup_n, profiler.operator_times(noted_ns))


if __name__ == "__main__":
    sys.exit(main())
