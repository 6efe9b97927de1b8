"""The measuring process: `python -m deploy_targets.device.worker`, one job, one engine.

It reads a `Job` as JSON from standard input and writes JSON lines to standard
output; `messages` says which. Everything else that is printed, by a runtime's C++
too, goes to standard error.
"""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy_targets.device import checks, facts, timing
from deploy_targets.device.channel import Emit, exit_code_of, take_standard_output
from deploy_targets.device.engine import Engine, load_engine
from deploy_targets.device.messages import Accuracy, DeviceResult, Job
from deploy_targets.records import as_dict, build

_STEPS = ("loading", "warming up", "timing", "throughput", "checking")
# Shares of the time that the timed queries may take.
_WARMUP_SHARE = 0.25
_THROUGHPUT_SHARE = 0.25


def main() -> int:
    """Do the job on standard input; the exit code is 0 or that of the error."""
    emit = take_standard_output()

    def work() -> None:
        result = measure_bundle(build(Job, json.load(sys.stdin)), emit)
        emit({"kind": "result", **as_dict(result)})

    return exit_code_of(work, emit)


def measure_bundle(job: Job, emit: Emit) -> DeviceResult:
    """Measure one bundle in this process, which must not have run another engine.

    Raises:
        CompressError: of the kind that fits, when bundle, runtime or evaluation file is at fault.
    """
    emit({"kind": "facts", **asdict(facts.collect())})
    _progress(emit, "loading")
    engine = load_engine(job)
    images = engine.images

    # Bound to the session itself: what is timed is the runtime, with nothing of ours around it.
    session = engine.session
    one_by_one = itertools.cycle([images[i : i + 1] for i in range(len(images))])
    _progress(emit, "warming up")
    warmup_n = timing.warm_up(
        lambda: session.run(next(one_by_one)), job.max_seconds * _WARMUP_SHARE
    )
    _progress(emit, "timing")
    samples = timing.time_queries(
        lambda: session.run(next(one_by_one)), job.queries, job.max_seconds
    )
    memory = engine.memory()

    _progress(emit, "throughput")
    batch = _filled(images, job.throughput_batch)
    throughput = timing.measure_throughput(
        lambda: engine.run(batch), job.throughput_batch, job.max_seconds * _THROUGHPUT_SHARE
    )

    _progress(emit, "checking")
    parity = engine.parity()
    return DeviceResult(
        runtime=engine.used(),
        latency_ms=timing.summarise(samples, warmup_n),
        throughput=throughput,
        memory_mb=memory,
        startup_ms=engine.startup,
        accuracy=_accuracy(job, engine),
        parity=parity,
    )


def _accuracy(job: Job, engine: Engine) -> Accuracy | None:
    if job.evaluation is None:
        return None
    return checks.accuracy(engine.run, Path(job.evaluation), engine.bundle.prepare)


def _filled(images: NDArray[Any], batch: int) -> NDArray[Any]:
    """A batch of that size, images repeated as needed."""
    return np.ascontiguousarray(images[np.arange(batch) % len(images)])


def _progress(emit: Emit, step: str) -> None:
    emit({"kind": "progress", "step": step, "number": _STEPS.index(step) + 1, "of": len(_STEPS)})


if __name__ == "__main__":
    sys.exit(main())
