"""What the processes on a host are given to do, as JSON; what comes back is in `messages`."""

from __future__ import annotations

from dataclasses import dataclass, field

from deploy_targets.device.options import RuntimeOptions, SamplingOptions
from foundation.digests import CheckedFiles


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
    """

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

    evaluation: str | None = None
    done: Done = Done()
    only_start: bool = False


@dataclass(frozen=True, kw_only=True)
class ServerJob(EngineJob):
    """A bundle to load and keep; `warmup_seconds` bounds its warm-up."""

    warmup_seconds: float = 5.0


@dataclass(frozen=True)
class Turn:
    """Single-image queries for a server to time now: up to `queries`, at least two."""

    queries: int
    max_seconds: float
