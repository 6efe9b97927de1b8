"""The measuring process: `python -m deploy_targets.device.worker`, one job, one engine.

It reads a `Job` as JSON from standard input and writes JSON lines to standard
output; `messages` says which. Everything else that is printed, by a runtime's C++
too, goes to standard error.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from deploy_targets.device import checks, facts, timing
from deploy_targets.device.messages import (
    Accuracy,
    DeviceResult,
    Job,
    Memory,
    Message,
    RuntimeUsed,
    Startup,
)
from deploy_targets.device.runtimes import Model, Session, load_session, one_line, open_runtime
from deploy_targets.records import RecordError, as_dict, build
from foundation.bundle import Bundle, open_bundle
from foundation.errors import CompressError, HostError, ModelMismatchError

T = TypeVar("T")
Emit = Callable[[Message], None]
Images = NDArray[np.float32]

_STEPS = ("loading", "warming up", "timing", "throughput", "checking")
# Shares of the time that the timed queries may take.
_WARMUP_SHARE = 0.25
_THROUGHPUT_SHARE = 0.25


def main() -> int:
    """Do the job on standard input; the exit code is 0 or that of the error."""
    emit = _take_standard_output()
    try:
        job = build(Job, json.load(sys.stdin))
        result = measure_bundle(job, emit)
    except CompressError as error:
        return _report(emit, error.exit_code, str(error))
    except (json.JSONDecodeError, RecordError) as error:
        return _report(emit, HostError.exit_code, f"not a job for this worker: {one_line(error)}")
    # Whatever else goes wrong on a device has to come back as a message, not as silence.
    except Exception as error:
        traceback.print_exc()
        return _report(
            emit,
            HostError.exit_code,
            f"measuring failed: {type(error).__name__}: {one_line(error)}",
        )
    emit({"kind": "result", **as_dict(result)})
    return 0


def measure_bundle(job: Job, emit: Emit) -> DeviceResult:
    """Measure one bundle in this process, which must not have run another engine.

    Raises:
        CompressError: of the kind that fits, when bundle, runtime or evaluation file is at fault.
    """
    emit({"kind": "facts", **asdict(facts.collect())})
    _progress(emit, "loading")
    bundle = open_bundle(Path(job.bundle))
    images, reference = checks.load_probe(bundle)

    before_load = facts.resident_mb("VmRSS")
    runtime, import_ms = _timed(lambda: open_runtime(job.runtime))
    model = Model(
        path=bundle.model_path,
        input_name=bundle.manifest.input_name,
        output_name=bundle.manifest.output_name,
        threads=job.threads or facts.usable_cores() or 1,
        precision_hint=job.precision_hint,
    )
    session, load_ms = _timed(lambda: load_session(runtime, model))
    run = _guarded(session, bundle)
    _, first_ms = _timed(lambda: run(images[:1]))

    # Bound to the session itself: what is timed is the runtime, with nothing of ours around it.
    one_by_one = itertools.cycle([images[i : i + 1] for i in range(len(images))])
    _progress(emit, "warming up")
    warmup_n = timing.warm_up(
        lambda: session.run(next(one_by_one)), job.max_seconds * _WARMUP_SHARE
    )
    _progress(emit, "timing")
    samples = timing.time_queries(
        lambda: session.run(next(one_by_one)), job.queries, job.max_seconds
    )
    peak = facts.resident_mb("VmHWM")

    _progress(emit, "throughput")
    batch = _filled(images, job.throughput_batch)
    throughput = timing.measure_throughput(
        lambda: run(batch), job.throughput_batch, job.max_seconds * _THROUGHPUT_SHARE
    )

    _progress(emit, "checking")
    outputs = np.concatenate([run(images[i : i + 1]) for i in range(len(images))])
    return DeviceResult(
        runtime=RuntimeUsed(
            name=job.runtime,
            version=runtime.version,
            threads=model.threads,
            precision_hint=job.precision_hint,
            executed_precision=session.executed_precision(),
        ),
        latency_ms=timing.summarise(samples, warmup_n),
        throughput=throughput,
        memory_mb=Memory(peak=peak, before_load=before_load),
        startup_ms=Startup(import_=import_ms, load=load_ms, first_inference=first_ms),
        accuracy=_accuracy(job, run, bundle),
        parity=checks.parity(outputs, reference),
    )


def _accuracy(job: Job, run: checks.Run, bundle: Bundle) -> Accuracy | None:
    if job.evaluation is None:
        return None
    return checks.accuracy(run, Path(job.evaluation), bundle.manifest.preprocessing)


def _guarded(session: Session, bundle: Bundle) -> checks.Run:
    """The session's `run`, whose failures say which model and which input it was."""

    def run(batch: Images) -> Images:
        try:
            return session.run(batch)
        # Each runtime has exceptions of its own, with nothing in common but this.
        except Exception as error:
            raise ModelMismatchError(
                f"{bundle.model_path}: does not run on input {batch.shape} ({one_line(error)}); "
                "export it with a free batch size and the size of its preprocessing"
            ) from error

    return run


def _filled(images: Images, batch: int) -> Images:
    """A batch of that size, images repeated as needed."""
    return np.ascontiguousarray(images[np.arange(batch) % len(images)])


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter_ns()
    value = call()
    return value, (time.perf_counter_ns() - started) / 1e6


def _progress(emit: Emit, step: str) -> None:
    emit({"kind": "progress", "step": step, "number": _STEPS.index(step) + 1, "of": len(_STEPS)})


def _report(emit: Emit, exit_code: int, message: str) -> int:
    emit({"kind": "error", "exit_code": exit_code, "message": message})
    return exit_code


def _take_standard_output() -> Emit:
    """Keep standard output for messages alone, and send whoever else prints to standard error."""
    sys.stdout.flush()
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def emit(message: Message) -> None:
        messages.write(json.dumps(message, allow_nan=False) + "\n")
        messages.flush()

    return emit


if __name__ == "__main__":
    sys.exit(main())
