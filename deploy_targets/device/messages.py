"""What passes between a host and the processes on it, as JSON.

What comes back is lines, each an object with a `kind`:

- from the `worker`, which is given one `Job`: "progress" (which step of how many),
  "facts" (of the device), then, last, a "result" (a `DeviceResult`);
- from the `server`, which is given a `ServerJob` and then `Turn`s, a line each:
  one "ready" (a `Ready`), then "samples" (`Samples`) for each turn;
- from both, last, when something is wrong, an "error" (an exit code of
  `foundation.errors` and a message of one line).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]

PRECISION_HINTS = ("f32", "auto")


@dataclass(frozen=True)
class EngineJob:
    """A bundle to load.

    Attributes:
        bundle: the bundle's folder, as the process that does the job sees it.
        runtime: name of the runtime, such as "onnxruntime".
        threads: threads for the runtime; None for every core the process may use.
        precision_hint: "f32" to compute as the bundle says: in BF16 a bundle of precision
            "bf16", in FP32 what any other has in FP32; "auto" for whatever the runtime
            thinks is fastest.
    """

    bundle: str
    runtime: str
    threads: int | None = None
    precision_hint: str = "f32"


@dataclass(frozen=True)
class Job(EngineJob):
    """One measurement to make; its warm-up takes up to a quarter of `max_seconds`.

    Attributes:
        queries: single-image queries to time, at most.
        max_seconds: time for them, at most.
        throughput_batch: images a batch when throughput is measured.
        evaluation: an .npz of `images` (uint8, NHWC) and `labels` (integers), or None.
    """

    queries: int = 1000
    max_seconds: float = 20.0
    throughput_batch: int = 16
    evaluation: str | None = None


@dataclass(frozen=True)
class ServerJob(EngineJob):
    """A bundle to load and keep; `warmup_seconds` bounds its warm-up."""

    warmup_seconds: float = 5.0


@dataclass(frozen=True)
class Turn:
    """Single-image queries for a server to time now: up to `queries`, at least two."""

    queries: int
    max_seconds: float


@dataclass(frozen=True)
class Samples:
    """Nanoseconds of each query of a turn."""

    ns: list[int]


@dataclass(frozen=True)
class ExecutedPrecision:
    """The number formats that really ran.

    Attributes:
        summary: the format of most compute operators: "f32", "bf16", "f16" or "int8".
        operators: how many compute operators ran in each format, as the runtime names it.
    """

    summary: str
    operators: dict[str, int]


@dataclass(frozen=True)
class RuntimeUsed:
    """The runtime, its settings and what they came to.

    Attributes:
        precision_hint: what the runtime was told: "f32", "bf16" or "auto".
    """

    name: str
    version: str
    threads: int
    precision_hint: str
    executed_precision: ExecutedPrecision


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one image. A percentile is None when `n` is too small to carry it."""

    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    mean: float
    min: float
    max: float
    n: int
    warmup_n: int


@dataclass(frozen=True)
class Throughput:
    """Images a second when they come `batch` at a time."""

    batch: int
    images_per_s: float


@dataclass(frozen=True)
class Memory:
    """Resident memory of the measuring process, in MiB; None where the system does not tell.

    Attributes:
        peak: the highest up to the end of the single-image queries.
        before_load: just before the runtime was imported.
    """

    peak: float | None
    before_load: float | None


@dataclass(frozen=True)
class Startup:
    """Milliseconds until the first answer."""

    import_: float
    load: float
    first_inference: float


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy (0..1) over `n` images."""

    top1: float
    n: int


@dataclass(frozen=True)
class Parity:
    """How the outputs on the probe images agree with the original's.

    Attributes:
        max_abs_error: largest absolute difference of a logit.
        relative_error: that, divided by the largest absolute reference logit; None if that is 0.
        top1_agreement: share of images with the same first class.
        n: number of images.
    """

    max_abs_error: float
    relative_error: float | None
    top1_agreement: float
    n: int


@dataclass(frozen=True)
class DeviceResult:
    """What the device found out about one bundle."""

    runtime: RuntimeUsed
    latency_ms: Latency
    throughput: Throughput
    memory_mb: Memory
    startup_ms: Startup
    accuracy: Accuracy | None
    parity: Parity


@dataclass(frozen=True)
class Ready:
    """A server whose engine is loaded, checked and warm."""

    runtime: RuntimeUsed
    parity: Parity
    startup_ms: Startup
    warmup_n: int
