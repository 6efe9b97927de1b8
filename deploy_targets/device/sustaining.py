"""The process that stays at work: `python -m deploy_targets.device.sustaining`, one job.

It reads a `SustainJob` as JSON from standard input, keeps one engine at work for as long as that
says, and tells of each stretch of the time when it is over: whoever listens has all but the last
if either end is stopped.
"""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import asdict

from deploy_targets.device import facts, timing
from deploy_targets.device.channel import Emit, exit_code_of, take_standard_output, tell_progress
from deploy_targets.device.conditions import Watch
from deploy_targets.device.engine import load_engine
from deploy_targets.device.jobs import SustainJob
from deploy_targets.device.messages import DURING, Ready
from deploy_targets.device.scenarios import series_of
from deploy_targets.device.stretches import ends_of, stretches
from foundation.records import as_dict, build

# What warms up the runtime heats the machine too, so it is kept short.
_WARMUP_S, _WARMUP_SHARE = 3.0, 0.1


def main() -> int:
    """Do the job on standard input; the exit code is 0 or that of the error."""
    emit = take_standard_output()
    return exit_code_of(lambda: sustain_bundle(build(SustainJob, json.load(sys.stdin)), emit), emit)


def sustain_bundle(job: SustainJob, emit: Emit) -> None:
    """Keep one bundle at work in this process, which must not have run another engine.

    Raises:
        CompressError: of the kind that fits, when bundle or runtime is at fault.
    """
    emit({"kind": "facts", **asdict(facts.collect())})
    tell_progress(emit, "loading")
    scenario = job.full_scenario()
    engine = load_engine(job, scenario.streams or 1, scenario.batch)
    # Before anything is timed: ONNX Runtime needs a second session for it.
    used, parity = engine.used(), engine.parity()
    questions = engine.questions
    batches = [questions.query(scenario.batch, first) for first in range(len(questions))]
    series = series_of(job, engine.session.lanes(), batches)
    tell_progress(emit, "warming up")
    inputs, seconds = itertools.cycle(batches), min(_WARMUP_S, job.seconds * _WARMUP_SHARE)
    warmed = timing.warm_up(lambda: engine.run(next(inputs)), seconds)
    ready = Ready(runtime=used, parity=parity, startup_ms=engine.startup, warmup_n=warmed.n)
    emit({"kind": "ready", **as_dict(ready)})
    tell_progress(emit, "timing")
    watch = Watch(engine.pinned)
    for stretch in stretches(series, lambda: watch.now(DURING), ends_of(job.seconds)):
        emit({"kind": "stretch", **as_dict(stretch)})
    emit({"kind": "sustained"})


if __name__ == "__main__":
    sys.exit(main())
