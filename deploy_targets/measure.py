"""Measure a bundle on a host: the one call that the rest of the house needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy_targets.answers import build_answer, content_of, error_of
from deploy_targets.device.facts import Facts
from deploy_targets.device.messages import PRECISION_HINTS, DeviceResult, Job
from deploy_targets.device.runtimes import runtime_for
from deploy_targets.device.timing import MIN_QUERIES
from deploy_targets.hosts import Host, open_host
from deploy_targets.measurement import (
    HostMeasured,
    Measurement,
    describe,
    read_measurement,
    write_measurement,
)
from foundation.bundle import Bundle, open_bundle
from foundation.errors import HostError, MissingFileError, UsageError

__all__ = ["MeasureOptions", "Measurement", "measure", "read_measurement", "write_measurement"]

Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class MeasureOptions:
    """How to measure.

    Attributes:
        threads: for the runtime; None for every core it may use.
        precision_hint: "f32" to compute as the bundle says (in BF16 only a bundle of precision
            "bf16"), "auto" for whatever the runtime thinks is fastest.
        queries: single-image queries to time, at most. A p99 needs 100, and is steady from 1000.
        max_seconds: for them, at most; warm-up and throughput take up to a quarter of it each.
        throughput_batch: images a batch when throughput is measured.
        evaluation: .npz of `images` (uint8, NHWC) and `labels` on which to measure accuracy.

    Raises:
        UsageError: when a value makes no sense.
    """

    threads: int | None = None
    precision_hint: str = "f32"
    queries: int = 1000
    max_seconds: float = 20.0
    throughput_batch: int = 16
    evaluation: Path | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"threads must be at least 1, but got {self.threads}")
        if self.precision_hint not in PRECISION_HINTS:
            raise UsageError(
                f"precision hint must be one of {', '.join(PRECISION_HINTS)}, "
                f"but got {self.precision_hint!r}"
            )
        if self.queries < MIN_QUERIES:
            raise UsageError(f"queries must be at least {MIN_QUERIES}, but got {self.queries}")
        if not 0 < self.max_seconds < float("inf"):
            raise UsageError(f"max seconds must be above 0, but got {self.max_seconds}")
        if self.throughput_batch < 1:
            raise UsageError(
                f"throughput batch must be at least 1, but got {self.throughput_batch}"
            )


def measure(
    bundle_folder: Path,
    host: str = "local",
    options: MeasureOptions | None = None,
    on_progress: Progress | None = None,
) -> Measurement:
    """Run a bundle on a host, in a process of its own, and measure it.

    Args:
        bundle_folder: the bundle, on this machine.
        host: URL of the host, such as "local".
        options: how to measure; None for the defaults.
        on_progress: called with each progress message: `step`, `number`, `of`.

    Raises:
        MissingFileError, CorruptFileError: when bundle or evaluation file are not as they must be.
        UnknownNameError: when no runtime takes the bundle's format, or no transport knows the host.
        HostError: when the host cannot be reached, lacks the runtime, or the process failed.
        ModelMismatchError: when the runtime refuses the model or its outputs are no logits.
    """
    options = options or MeasureOptions()
    started_at, start = datetime.now(UTC), time.monotonic()
    bundle = open_bundle(bundle_folder)
    machine = open_host(host)
    job = _job(bundle, options)
    facts, result = _run(machine, job, on_progress)
    return Measurement(
        bundle=describe(bundle),
        host=HostMeasured(name=machine.name, facts=facts),
        **{name: getattr(result, name) for name in DeviceResult.__dataclass_fields__},
        seconds=round(time.monotonic() - start, 3),
        started_at=started_at.isoformat(timespec="seconds"),
    )


def _job(bundle: Bundle, options: MeasureOptions) -> Job:
    if options.evaluation is not None and not options.evaluation.is_file():
        raise MissingFileError(f"{options.evaluation}: no such evaluation file")
    return Job(
        bundle=str(bundle.folder.resolve()),
        runtime=runtime_for(bundle.manifest.format),
        threads=options.threads,
        precision_hint=options.precision_hint,
        queries=options.queries,
        max_seconds=options.max_seconds,
        throughput_batch=options.throughput_batch,
        evaluation=str(options.evaluation.resolve()) if options.evaluation else None,
    )


def _run(machine: Host, job: Job, on_progress: Progress | None) -> tuple[Facts, DeviceResult]:
    facts: Facts | None = None
    for message in machine.stream(job):
        kind, content = message["kind"], content_of(message)
        if kind == "facts":
            facts = build_answer(Facts, content, machine.name)
        elif kind == "error":
            raise error_of(message, machine.name)
        elif kind == "result" and facts is not None:
            return facts, build_answer(DeviceResult, content, machine.name)
        elif kind == "progress" and on_progress:
            on_progress(content)
    raise HostError(f"{machine.name}: the measuring process ended without a result; try again")
