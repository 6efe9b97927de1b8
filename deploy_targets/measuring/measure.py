"""Measure a bundle on a host: the one call that the rest of the house needs."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deploy_targets.device.checks import labels_of
from deploy_targets.device.messages import (
    MULTI_STREAM,
    OFFLINE,
    PRECISION_HINTS,
    SCENARIOS,
    SERVER,
    SINGLE_STREAM,
    Job,
    Scenario,
    WorkerStep,
)
from deploy_targets.device.percentiles import BOUNDS, FEWEST_FOR_BOUNDS, fewest_queries
from deploy_targets.device.pinning import AUTO, parse_cores
from deploy_targets.device.runtimes import runtime_for
from deploy_targets.device.timing import MIN_QUERIES, PERCENTS
from deploy_targets.hosts import Host, open_host
from deploy_targets.hosts.answers import build_answer, content_of, error_of
from deploy_targets.measurement import (
    HostMeasured,
    Measurement,
    describe,
    read_measurement,
    write_measurement,
)
from deploy_targets.measuring.assembling import Brought
from deploy_targets.measuring.journal import Journal
from foundation.bundle import Bundle, open_bundle
from foundation.errors import HostError, MissingFileError, UsageError, unknown_name
from foundation.files import sha256_of
from foundation.records import as_dict
from foundation.sense import is_percentile
from foundation.words import without_password

logger = logging.getLogger(__name__)

__all__ = ["MeasureOptions", "Measurement", "measure", "read_measurement", "write_measurement"]

# Of the time for queries, what may go to further processes whose start and memory are looked at;
# and what it takes to have one, beside its start.
_STARTS_SHARE, _SPAWN_S = 0.25, 0.5

# With fewer on average, there may be none for long after the time is over.
_FEWEST_ARRIVALS = 10

Progress = Callable[[dict[str, Any]], None]
Remark = Callable[[str], None]


@dataclass(frozen=True)
class MeasureOptions:
    """How to measure.

    Attributes:
        threads: for the runtime; None for every core it may use.
        precision_hint: "f32" to compute as the bundle says (in BF16 only a bundle of precision
            "bf16"), "auto" for whatever the runtime thinks is fastest.
        queries: to time; more where they take less than `min_seconds`.
        min_seconds: of timed queries.
        max_seconds: for them, at most; warm-up and throughput take up to a quarter of it each.
        throughput_batch: images a batch when throughput is measured.
        evaluation: .npz of `images` (uint8, NHWC) and `labels` on which to measure accuracy.
        runtime: its name; None for the first that takes the bundle's format.
        scenario: "single-stream", "multi-stream", "offline" or "server".
        batch: images in a query; None for 1, and offline for the throughput's.
        streams: queries at once; None for 1, and multi-stream for 2.
        rate: queries a second, on average; the server scenario needs it, and no other takes it.
        seed: of the times at which they come.
        pin: cores to run on, such as "0,1" or "0-3"; "auto" for the fastest; None for any.
        percentiles: to tell of; None for 50, 90, 95 and 99 as far as the queries carry them. What
            is asked for by name has so many queries as it needs, in the time that there is.
        power: settings that the target's profile asks for, such as {"governor": "performance"}.

    Raises:
        UsageError: when a value makes no sense.
    """

    threads: int | None = None
    precision_hint: str = "f32"
    queries: int = 1000
    min_seconds: float = 1.0
    max_seconds: float = 20.0
    throughput_batch: int = 16
    evaluation: Path | None = None
    runtime: str | None = None
    scenario: str = SINGLE_STREAM
    batch: int | None = None
    streams: int | None = None
    rate: float | None = None
    seed: int = 0
    pin: str | None = None
    percentiles: Sequence[float] | None = None
    power: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("threads", "throughput_batch", "batch", "streams"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name.replace('_', ' ')} must be at least 1, but got {value}")
        if self.precision_hint not in PRECISION_HINTS:
            raise UsageError(
                f"precision hint must be one of {', '.join(PRECISION_HINTS)}, "
                f"but got {self.precision_hint!r}"
            )
        if self.queries < MIN_QUERIES:
            raise UsageError(f"queries must be at least {MIN_QUERIES}, but got {self.queries}")
        if not 0 < self.max_seconds < float("inf"):
            raise UsageError(f"max seconds must be above 0, but got {self.max_seconds}")
        if not 0 <= self.min_seconds < float("inf"):
            raise UsageError(f"min seconds must be 0 or more, but got {self.min_seconds}")
        for percent in self.percentiles or []:
            if not is_percentile(percent):
                raise UsageError(f"percentile must be from {BOUNDS}, but got {percent:.12g}")
        if self.pin not in {None, AUTO}:
            try:
                parse_cores(self.pin or "")
            except ValueError as error:
                raise UsageError(f"pin {error}") from error
        self._check_scenario()

    def _check_scenario(self) -> None:
        if self.scenario not in SCENARIOS:
            raise unknown_name("scenario", self.scenario, SCENARIOS)
        if self.scenario == SERVER and self.rate is None:
            raise UsageError("scenario server: how many queries a second? Give a rate")
        if self.scenario != SERVER and self.rate is not None:
            raise UsageError(f"rate {self.rate:g} is for scenario server, not {self.scenario}")
        if self.rate is not None and not 0 < self.rate < float("inf"):
            raise UsageError(f"rate must be above 0, but got {self.rate}")
        if self.rate is not None and self.rate * self.max_seconds < _FEWEST_ARRIVALS:
            needed = _FEWEST_ARRIVALS / self.rate
            raise UsageError(
                f"at a rate of {self.rate:g} a second, fewer than {_FEWEST_ARRIVALS} queries come "
                f"in max_seconds = {self.max_seconds:g}; give them {math.ceil(needed):,}"
            )
        if self.scenario == SINGLE_STREAM and (self.streams or 1) > 1:
            raise UsageError(
                f"scenario {SINGLE_STREAM} has one stream, but got {self.streams}; "
                f"ask for {MULTI_STREAM}"
            )

    @property
    def percents(self) -> Sequence[float]:
        """The percentiles to tell of."""
        return PERCENTS if self.percentiles is None else self.percentiles

    @property
    def needed_queries(self) -> int:
        """How many to time: more than was said where a percentile that was asked for needs it."""
        return max([self.queries, *map(fewest_queries, self.percentiles or [])])

    def asked_scenario(self) -> Scenario:
        """The scenario with all its figures."""
        streams = self.streams or (2 if self.scenario == MULTI_STREAM else None)
        batch = self.batch or (self.throughput_batch if self.scenario == OFFLINE else 1)
        return Scenario(self.scenario, batch, streams, self.rate)


def measure(
    bundle: Path | Bundle,
    host: str = "local",
    options: MeasureOptions | None = None,
    on_progress: Progress | None = None,
    journal: Path | None = None,
    *,
    remark: Remark | None = None,
) -> Measurement:
    """Run a bundle on a host, in a process of its own, and measure it.

    Args:
        bundle: its folder, on this machine, or the bundle if it has been opened.
        host: URL of the host, such as "local".
        options: how to measure; None for the defaults.
        on_progress: called with each progress message: `step`, `number`, `of`.
        journal: a file in which to keep what the host sends, as it comes. Where it holds a part
            of the same measurement, because the link or a process was cut, that part is not
            measured again. It stays; the caller deletes it when the measurement is safe.
        remark: told what was decided by looking, or left out, a line each.

    Raises:
        MissingFileError, CorruptFileError: when bundle or evaluation file are not as they must be,
            or the bundle was changed while it was measured.
        UnknownNameError: when no runtime takes the bundle's format, or no transport knows the host.
        UsageError: when the runtime that was asked for takes another format, or there is no such
            core.
        HostError: when the host cannot be reached, lacks the runtime, or the process failed.
        ModelMismatchError: when the runtime refuses the model or its outputs are no logits.
        NoSpaceError: when the journal does not fit on the disk.
    """
    options = options or MeasureOptions()
    start = time.monotonic()
    bundle = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    machine = open_host(host)
    job = _job(bundle, options)
    digest, images = labels_of(options.evaluation) if options.evaluation else (None, 0)
    brought = Brought(job, machine.name, images)
    kept = Journal.open(journal, _identity(bundle, machine, job))
    name = without_password(machine.name)
    logger.info(
        "%s on %s: %s, threads %s, pinned %s, %s, %d messages of it kept before",
        bundle.folder, name, job.runtime, job.threads, job.pin, job.scenario, len(kept.messages),
    )  # fmt: skip
    try:
        _restore(brought, kept, remark or _unheard)
        with kept.of_unchanged([bundle]):
            if not brought.is_whole:
                _stream(machine, brought, kept, on_progress)
            _start_again(machine, brought, kept, options.max_seconds * _STARTS_SHARE)
    finally:
        kept.close()
    logger.info("%s on %s: took %.1f s", bundle.folder, name, time.monotonic() - start)
    return Measurement(
        bundle=describe(bundle),
        host=HostMeasured(name=machine.name, facts=brought.facts()),
        **brought.figures(
            job.scenario,
            options.percents,
            bundle.manifest.precision,
            options.power,
            digest,
        ),
        seconds=round(time.monotonic() - start, 3),
        started_at=kept.begun_at,
    )


def _job(bundle: Bundle, options: MeasureOptions) -> Job:
    if options.evaluation is not None and not options.evaluation.is_file():
        raise MissingFileError(f"{options.evaluation}: no such evaluation file")
    return Job(
        bundle=str(bundle.folder.resolve()),
        checked=bundle.checked(),
        runtime=runtime_for(bundle.manifest.format, options.runtime),
        threads=options.threads,
        precision_hint=options.precision_hint,
        pin=options.pin,
        queries=options.needed_queries,
        min_seconds=options.min_seconds,
        max_seconds=options.max_seconds,
        throughput_batch=options.throughput_batch,
        evaluation=str(options.evaluation.resolve()) if options.evaluation else None,
        scenario=options.asked_scenario(),
        seed=options.seed,
    )


def _identity(bundle: Bundle, machine: Host, job: Job) -> dict[str, Any]:
    """What makes it the same measurement when it is asked for again."""
    evaluated = [sha256_of(Path(job.evaluation))] if job.evaluation else []
    files, asked = [bundle.manifest_sha256, *evaluated], as_dict(job)
    del asked["checked"]
    return {"kind": "job", "host": machine.name, "files": files, **asked}


def _restore(brought: Brought, journal: Journal, remark: Remark) -> None:
    """Go on from what is kept, where it is what a worker of this version sends."""
    try:
        brought.restore(journal.messages)
    except HostError as error:
        remark(f"{journal.path}: what it kept of an earlier measurement is left out ({error})")
        journal.begin_anew()
        brought.forget()


def _stream(
    machine: Host, brought: Brought, journal: Journal, on_progress: Progress | None
) -> None:
    """Have a process do what is not done yet; each message is checked before it is kept."""
    brought.begin()
    try:
        for message in machine.stream(replace(brought.job, done=brought.done)):
            if message["kind"] == "error":
                raise error_of(message, machine.name)
            if message["kind"] == "progress":
                step = build_answer(WorkerStep, content_of(message), machine.name, "progress")
                if on_progress:
                    on_progress(as_dict(step))
            else:
                brought.add(message)
                journal.add(message)
        if not brought.is_whole:
            raise HostError(
                f"{machine.name}: the measuring process ended without a result; try again"
            )
    except HostError as error:
        kept = brought.done.queries
        if journal.path is None or not kept:
            raise
        raise HostError(
            f"{error}; the {kept:,} queries timed until then are kept, the same call goes on"
        ) from error


def _start_again(machine: Host, brought: Brought, journal: Journal, seconds: float) -> None:
    """Begin fresh processes in the time that there is: of a start, one look tells little."""
    began = time.monotonic()
    took = brought.starts[-1].startup_ms.total / 1e3 + _SPAWN_S
    while len(brought.starts) < FEWEST_FOR_BOUNDS and time.monotonic() - began + took <= seconds:
        before = time.monotonic()
        brought.begin()
        for message in machine.stream(replace(brought.job, only_start=True)):
            if message["kind"] == "error":
                raise error_of(message, machine.name)
            brought.add(message)
            journal.add(message)
        took = time.monotonic() - before


def _unheard(_line: str) -> None:
    """Nobody asked for remarks."""
