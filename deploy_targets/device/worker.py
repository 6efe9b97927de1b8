"""The measuring process: `python -m deploy_targets.device.worker`, one job, one engine.

It reads a `Job` as JSON from standard input and writes JSON lines to standard
output; `messages` says which. Everything else that is printed, by a runtime's C++
too, goes to standard error.
"""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from deploy_targets.device import checks, facts, timing
from deploy_targets.device.channel import Emit, exit_code_of, take_standard_output, tell_progress
from deploy_targets.device.conditions import Watch, worst_of
from deploy_targets.device.engine import InferenceEngine, load_engine
from deploy_targets.device.jobs import Job
from deploy_targets.device.messages import (
    OFFLINE,
    Conditions,
    Consumed,
    DeviceResult,
    Started,
    Timed,
)
from deploy_targets.device.power import Meter
from deploy_targets.device.scenarios import series_of, time_parts
from deploy_targets.device.timing import PART_S
from foundation.records import as_dict, build

# Shares of the time that the timed queries may take.
_WARMUP_SHARE = 0.25
_THROUGHPUT_SHARE = 0.25
# Enough for a runtime to have asked for all the memory that it works in.
_QUERIES_OF_A_START = 20
# Queries a second, when it is no matter when they come.
_AT_ONCE = 1e6


def main() -> int:
    """Do the job on standard input; the exit code is 0 or that of the error."""
    emit = take_standard_output()
    return exit_code_of(lambda: measure_bundle(build(Job, json.load(sys.stdin)), emit), emit)


def measure_bundle(job: Job, emit: Emit) -> None:
    """Measure one bundle in this process, which must not have run another engine.

    Raises:
        CompressError: of the kind that fits, when bundle, runtime or evaluation file is at fault.
    """
    if job.only_start:
        _start(job, emit)
        return
    emit({"kind": "facts", **asdict(facts.collect())})
    tell_progress(emit, "loading")
    scenario = job.full_scenario()
    engine = load_engine(job, scenario.streams or 1, scenario.batch)
    _send(emit, "startup", engine.startup)
    _time(job, engine, emit)
    tell_progress(emit, "throughput")
    # Offline is throughput already.
    if not job.done.throughput and scenario.name != OFFLINE:
        batch = engine.questions.query(job.throughput_batch)
        throughput = timing.measure_throughput(
            lambda: engine.run(batch), job.throughput_batch, job.max_seconds * _THROUGHPUT_SHARE
        )
        _send(emit, "throughput", throughput)
    tell_progress(emit, "checking")
    parity = engine.parity()
    if job.evaluation is not None:
        file, prepare = Path(job.evaluation), engine.images.bundle.prepare
        for counted in checks.count_correct(engine.run, file, prepare, job.done.images):
            _send(emit, "counted", counted)
    _send(emit, "result", DeviceResult(engine.used(), parity))


def _start(job: Job, emit: Emit) -> None:
    """Begin as a measurement does, answer a few queries, and tell of it."""
    scenario = job.full_scenario()
    engine = load_engine(job, scenario.streams or 1, scenario.batch)
    _answer_some(job, engine, _QUERIES_OF_A_START)
    _send(emit, "started", Started(engine.startup, engine.memory()))


def _answer_some(job: Job, engine: InferenceEngine, queries: int) -> None:
    """Queries of the job's kind that nobody times: a process has the memory of what it did."""
    at_once = replace(job, rate=_AT_ONCE if job.rate else None)
    batches = _batches(engine, job.full_scenario().batch)
    series = series_of(at_once, engine.session.lanes(), batches, job.done.queries)
    series.part(queries, PART_S)


def _time(job: Job, engine: InferenceEngine, emit: Emit) -> None:
    """Warm up and time what is not done yet, and tell of the memory that the process then has."""
    left = max(0, job.queries - job.done.queries)
    seconds = max(0.0, job.max_seconds - job.done.timed_s)
    is_enough = left == 0 and job.done.timed_s >= min(job.min_seconds, job.max_seconds)
    if job.done.queries >= timing.MIN_QUERIES and (is_enough or seconds == 0):
        if not job.done.memory:
            # A process that is gone timed all: of its memory, one that has done like it tells.
            _answer_some(job, engine, job.queries)
            _send(emit, "memory", engine.memory())
        return
    scenario = job.full_scenario()
    batches = _batches(engine, scenario.batch)
    # Bound to the session itself: what is timed is the runtime, with nothing of ours around it.
    series = series_of(job, engine.session.lanes(), batches, job.done.queries)
    tell_progress(emit, "warming up")
    call, inputs = engine.run, itertools.cycle(batches)
    warmed = timing.warm_up(lambda: call(next(inputs)), job.max_seconds * _WARMUP_SHARE)
    _send(emit, "warm", warmed)
    watch = Watch(engine.pinned)
    _send(emit, "conditions", replace(watch.now("before"), other_cpu=None))
    tell_progress(emit, "timing")
    during, meter = list[Conditions](), Meter()
    for part in time_parts(series, left, job.min_seconds - job.done.timed_s, seconds):
        meter.read()
        during.append(watch.now("during"))
        _send(emit, "timed", part)
        _send_energy(emit, meter, part, scenario.images_a_query)
    memory = engine.memory()
    _send(emit, "conditions", worst_of(during))
    _send(emit, "conditions", replace(watch.now("after"), other_cpu=None))
    _send(emit, "memory", memory)


def _send_energy(emit: Emit, meter: Meter, part: Timed, images_a_query: int) -> None:
    joules = meter.joules(part.span_ns / 1e9)
    if joules is not None and meter.source is not None:
        _send(emit, "energy", Consumed(joules, len(part.ns) * images_a_query, meter.source))


def _batches(engine: InferenceEngine, batch: int) -> list[Any]:
    """What queries ask: each begins at another sample of the probe."""
    return [engine.questions.query(batch, first) for first in range(len(engine.questions))]


def _send(emit: Emit, kind: str, record: Any) -> None:
    emit({"kind": kind, **as_dict(record)})


if __name__ == "__main__":
    sys.exit(main())
