"""What the processes on a host are given to do, as JSON; what comes back is in `messages`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from deploy_targets.device.options import (
    RuntimeOptions,
    SamplingOptions,
    Seconds,
    SustainedSeconds,
)
from foundation.digests import CheckedFiles
from foundation.limits import Within


@dataclass(frozen=True)
class Done:
    """What an earlier process of the same job has sent, and need not be done again.

    Attributes:
        queries: timed.
        timed_s: seconds that they took.
        images: of the evaluation file, that were answered.
        throughput: whether it was measured.
        memory: whether a process told of it after its queries.
    """

    queries: int = 0
    timed_s: float = 0.0
    images: int = 0
    throughput: bool = False
    memory: bool = False


@dataclass(frozen=True, kw_only=True)
class EngineJob(RuntimeOptions):
    """A bundle to load, and how a runtime that has a name runs it.

    Attributes:
        bundle: the bundle's folder, as the process that does the job sees it.
        checked: which bundle it must be, and what is known of its files; None for any.
        process: the module that does such a job, in a process of its own.
    """

    process: ClassVar[str]

    bundle: str
    runtime: str = field()
    checked: CheckedFiles | None = None


@dataclass(frozen=True, kw_only=True)
class Job(SamplingOptions, EngineJob):
    """One measurement to make; its warm-up takes up to a quarter of `max_seconds`.

    Attributes:
        evaluation: an .npz of `images` (uint8, NHWC) and `labels` (integers), or None.
        done: what need not be done again.
        only_start: load, answer a few queries, and tell how that began and what memory it took.
    """

    process: ClassVar[str] = "deploy_targets.device.worker"

    evaluation: str | None = None
    done: Done = Done()
    only_start: bool = False


@dataclass(frozen=True, kw_only=True)
class ServerJob(EngineJob):
    """A bundle to load and keep; `warmup_seconds` bounds its warm-up."""

    process: ClassVar[str] = "deploy_targets.device.server"

    warmup_seconds: float = 5.0


@dataclass(frozen=True, kw_only=True)
class ProfileJob(EngineJob):
    """A bundle whose operators to time.

    Attributes:
        runs: profiled inferences of one sample, or as many as there is time for.
        max_seconds: for all inferences, those that are not profiled too.
    """

    process: ClassVar[str] = "deploy_targets.device.profiling"

    runs: Annotated[int, Within(2, 10_000)] = 100
    max_seconds: Seconds = 20.0


@dataclass(frozen=True, kw_only=True)
class SustainJob(SamplingOptions, EngineJob):
    """A bundle to keep at work, with queries that come as the scenario says.

    Attributes:
        seconds: for how long.
    """

    process: ClassVar[str] = "deploy_targets.device.sustaining"

    seconds: SustainedSeconds = field()


@dataclass(frozen=True)
class Turn:
    """Single-image queries for a server to time now: up to `queries`, at least two."""

    queries: int
    max_seconds: float
