"""Measure a bundle on a host: the one call that the rest of the house needs."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deploy_targets.device.checks import labels_of
from deploy_targets.device.jobs import Job
from deploy_targets.device.messages import WorkerStep
from deploy_targets.device.options import RuntimeOptions, SamplingOptions, check_options
from deploy_targets.device.percentiles import FEWEST_FOR_BOUNDS
from deploy_targets.device.runtimes import runtime_for
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
from foundation.bundle import AnyBundle, GraphManifest, open_any_bundle
from foundation.errors import HostError, MissingFileError, UsageError
from foundation.files import sha256_of
from foundation.records import as_dict, part_of
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


@dataclass(frozen=True, kw_only=True)
class MeasureOptions(SamplingOptions, RuntimeOptions):
    """How to measure, and on what.

    Attributes:
        evaluation: .npz of `images` (uint8, NHWC) and `labels` on which to measure accuracy.
        agreement_from: from which image on of that file labels are the teacher's answers to images
            of which nobody says what they show; None where all are labels.
        power: settings that the target's profile asks for, such as {"governor": "performance"}.

    Raises:
        UsageError, UnknownNameError: when a value makes no sense.
    """

    evaluation: Path | None = None
    agreement_from: int | None = None
    power: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_options(self)
        if self.rate is not None and self.rate * self.max_seconds < _FEWEST_ARRIVALS:
            needed = _FEWEST_ARRIVALS / self.rate
            raise UsageError(
                f"at a rate of {self.rate:g} a second, fewer than {_FEWEST_ARRIVALS} queries come "
                f"in max_seconds = {self.max_seconds:g}; give them {math.ceil(needed):,}"
            )


def measure(
    bundle: Path | AnyBundle,
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
        ModelMismatchError: when the runtime refuses the model or its outputs are none of its.
        NoSpaceError: when the journal does not fit on the disk.
    """
    options = options or MeasureOptions()
    start = time.monotonic()
    bundle = bundle if isinstance(bundle, AnyBundle) else open_any_bundle(bundle)
    machine = open_host(host)
    job = _job(bundle, options)
    digests, images = _labels_of(options)
    brought = Brought(job, machine.name, images)
    open_journal = Journal.open(journal, _identity(bundle, machine, job))
    name = without_password(machine.name)
    logger.info(
        "%s on %s: %s, threads %s, pinned %s, %s, %d messages of it kept before",
        bundle.folder, name, job.runtime, job.threads, job.pin, job.scenario,
        len(open_journal.messages),
    )  # fmt: skip
    try:
        _restore(brought, open_journal, remark or _unheard)
        with open_journal.of_unchanged([bundle]):
            if not brought.is_whole:
                _stream(machine, brought, open_journal, on_progress)
            _start_again(machine, brought, open_journal, options.max_seconds * _STARTS_SHARE)
    finally:
        open_journal.close()
    logger.info("%s on %s: took %.1f s", bundle.folder, name, time.monotonic() - start)
    return Measurement(
        bundle=describe(bundle),
        host=HostMeasured(name=machine.name, facts=brought.facts()),
        **brought.figures(bundle.manifest.precision, options.power),
        **brought.judged(digests, options.agreement_from),
        seconds=round(time.monotonic() - start, 3),
        started_at=open_journal.begun_at,
    )


def _labels_of(options: MeasureOptions) -> tuple[list[str], int]:
    """What tells the evaluation file's labels from others, by its parts; how many there are."""
    if options.evaluation is None:
        return [], 0
    start = options.agreement_from
    parts = [slice(None)] if start is None else [slice(start), slice(start, None)]
    digests, counts = zip(*(labels_of(options.evaluation, part) for part in parts), strict=True)
    return list(digests), sum(counts)


def _job(bundle: AnyBundle, options: MeasureOptions) -> Job:
    if options.evaluation is not None and not options.evaluation.is_file():
        raise MissingFileError(f"{options.evaluation}: no such evaluation file")
    if isinstance(bundle.manifest, GraphManifest):
        options = _one_at_a_time(bundle, options)
    return part_of(
        Job,
        options,
        bundle=str(bundle.folder.resolve()),
        checked=bundle.checked(),
        runtime=runtime_for(bundle.manifest.format, options.runtime),
        queries=options.needed_queries,
        evaluation=str(options.evaluation.resolve()) if options.evaluation else None,
    )


def _one_at_a_time(bundle: AnyBundle, options: MeasureOptions) -> MeasureOptions:
    """A graph that is no classifier is asked for one sample a query, in the fixed shape it has."""
    if (options.batch or 1) > 1:
        raise UsageError(
            f"{bundle.folder}: takes one sample a query, but batch = {options.batch} was asked "
            "for; leave it out, or export the graph with a larger first size (--input-shape)"
        )
    return replace(options, batch=1, throughput_batch=1, evaluation=None)


def _identity(bundle: AnyBundle, machine: Host, job: Job) -> dict[str, Any]:
    """What makes it the same measurement when it is asked for again."""
    evaluated = [sha256_of(Path(job.evaluation))] if job.evaluation else []
    files, settings = [bundle.manifest_sha256, *evaluated], as_dict(job)
    del settings["checked"]
    return {"kind": "job", "host": machine.name, "files": files, **settings}


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
        queries = brought.done.queries
        if journal.path is None or not queries:
            raise
        raise HostError(
            f"{error}; the {queries:,} queries timed until then are kept, the same call goes on"
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
