"""What comes back from the processes on a host, as JSON lines, each an object with a `kind`. What
they are given is in `jobs`.

- From the `worker`, which is given one `Job`: "facts" (of the device), "progress" (a `WorkerStep`),
  "startup" (`Startup`), "warm" (`Warmed`), "conditions" (`Conditions`), "timed" (`Timed`, a part
  of the samples), "energy" (`Consumed`, of such a part), "memory" (`Memory`, after them),
  "throughput" (`Throughput`), "counted" (`Counted`, a part of the accuracy), then, last, a "result"
  (a `DeviceResult`). Of a job that only starts, all that comes is a "started" (`Started`). Whoever
  keeps them can give them back as the `Done` of another job, which then goes on from there;
- From the `server`, which is given a `ServerJob` and then `Turn`s, a line each:
  one "ready" (a `Ready`), then "samples" (`Samples`) for each turn;
- From `profiling`, which is given one `ProfileJob`: "facts", "progress", then, last, a "profiled"
  (`operator_times.Profiled`);
- From `sustaining`, which is given one `SustainJob`: "facts", "progress", a "ready", a "stretch"
  (`stretches.Stretch`) for each stretch of the time, then, last, a "sustained";
- From all, last, when something is wrong, an "error" (an exit code of
  `foundation.errors` and a message of one line).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from foundation.output_agreement import OutputAgreement
from foundation.sense import (
    above_zero,
    ascending,
    at_least,
    bits_set,
    is_percentile,
    known,
    named,
    sha256,
    shares,
)

Message = dict[str, Any]

ScenarioName = Literal["single-stream", "multi-stream", "offline", "server"]
SINGLE_STREAM, MULTI_STREAM, OFFLINE, SERVER = SCENARIOS = get_args(ScenarioName)

STEPS = ("loading", "warming up", "timing", "throughput", "checking")

BEFORE, DURING, AFTER = MOMENTS = ("before", "during", "after")
VALID, SUSPECT = VERDICTS = ("valid", "suspect")

_CLASS = re.compile(r"\d{1,7}", re.ASCII)
_PERCENTILE = re.compile(r"p\d{1,2}(\.\d{1,9})?")


@dataclass(frozen=True)
class Scenario:
    """How queries came, in MLPerf's words.

    Attributes:
        name: "single-stream": one after another. "multi-stream": as many at once as there are
            streams, and the next when all are answered. "offline": all there from the beginning.
            "server": when they come, at random, and a query that comes too soon waits.
        batch: images in a query.
        streams: queries that are worked on at once; None for one.
        rate: queries a second on average, for server.
    """

    name: str = SINGLE_STREAM
    batch: int = 1
    streams: int | None = None
    rate: float | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from known(SCENARIOS, name=self.name)
        yield from at_least(1, batch=self.batch, streams=self.streams)
        yield from above_zero(rate=self.rate)
        if self.name == SERVER and self.rate is None:
            yield "scenario server needs a rate: how many queries a second? Give a rate"
        if self.name != SERVER and self.rate is not None:
            yield f"rate = {self.rate:g} is for scenario server, not {self.name}"
        if self.name == SINGLE_STREAM and (self.streams or 1) > 1:
            yield (
                f"single-stream has one stream, but got streams = {self.streams}; "
                "ask for multi-stream"
            )

    @property
    def images_a_query(self) -> int:
        """Those that are answered when a sample ends."""
        return self.batch * (self.streams or 1 if self.name == MULTI_STREAM else 1)


@dataclass(frozen=True)
class Samples:
    """Nanoseconds of each query of a turn."""

    ns: list[int]

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from _samples(self.ns)


@dataclass(frozen=True)
class ExecutedPrecision:
    """The number formats that really ran.

    Attributes:
        summary: the format of most compute operators: "f32", "bf16", "f16" or "int8".
        operators: how many compute operators ran in each format, as the runtime names it.
    """

    summary: str
    operators: dict[str, int]

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from named(summary=self.summary)
        for name, count in self.operators.items():
            yield from named(operators=name)
            yield from at_least(1, **{f"operators.{name}": count})


@dataclass(frozen=True)
class RuntimeUsed:
    """The runtime, its settings and what they came to.

    Attributes:
        threads: in all.
        precision_hint: what the runtime was told: "f32", "f16", "bf16" or "auto".
        pinned: numbers of the cores that it was kept on; None where it was not.
        provider: the part of the runtime that computes, where it has several.
    """

    name: str
    version: str
    threads: int
    precision_hint: str
    executed_precision: ExecutedPrecision
    pinned: list[int] | None = None
    provider: str | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from named(name=self.name, version=self.version, provider=self.provider)
        yield from known(("f32", "f16", "bf16", "auto"), precision_hint=self.precision_hint)
        yield from at_least(1, threads=self.threads)
        yield from at_least(0, pinned=min(self.pinned or [0]))


@dataclass(frozen=True)
class Percentile:
    """Milliseconds; `low` and `high` are bounds of the true percentile, each at 99 %."""

    value: float
    low: float
    high: float

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(0, low=self.low)
        yield from ascending(low=self.low, value=self.value, high=self.high)


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a query.

    Attributes:
        percentiles: by "p50", "p99.9" and the like; only those that `n` queries carry.
        n: queries that were timed.
        warmup_n: those before them.
    """

    percentiles: dict[str, Percentile]
    mean: float
    min: float
    max: float
    n: int
    warmup_n: int

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        # Of a single one there is no spread to speak of.
        yield from at_least(2, n=self.n)
        yield from at_least(0, warmup_n=self.warmup_n, min=self.min)
        yield from ascending(min=self.min, mean=self.mean, max=self.max)
        for name, estimate in self.percentiles.items():
            if not (_PERCENTILE.fullmatch(name) and is_percentile(float(name[1:]))):
                yield f"percentiles must have names such as p99.9, but got {name[:80]!r}"
                return
            yield from ascending(min=self.min, **{f"{name}.low": estimate.low})
            yield from ascending(**{f"{name}.high": estimate.high}, max=self.max)
        in_order = sorted(self.percentiles, key=lambda name: float(name[1:]))
        yield from ascending(**{name: self.percentiles[name].value for name in in_order})

    def value_of(self, percentile: str) -> float | None:
        """Of "p50" and the like; None where the sample does not carry it."""
        estimate = self.percentiles.get(percentile)
        return None if estimate is None else estimate.value

    @property
    def p50(self) -> float | None:
        return self.value_of("p50")

    @property
    def p90(self) -> float | None:
        return self.value_of("p90")

    @property
    def p95(self) -> float | None:
        return self.value_of("p95")

    @property
    def p99(self) -> float | None:
        return self.value_of("p99")


@dataclass(frozen=True)
class Throughput:
    """Images a second when they come `batch` at a time, with bounds of it."""

    batch: int
    images_per_s: float
    low: float
    high: float

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(1, batch=self.batch)
        yield from above_zero(low=self.low)
        yield from ascending(low=self.low, images_per_s=self.images_per_s, high=self.high)


@dataclass(frozen=True)
class Memory:
    """Resident memory of the measuring process, in MiB; None where the system does not tell.

    Attributes:
        before_load: just before the runtime was imported.
        steady: when the last query was done.
        peak: the highest until then.
    """

    before_load: float | None
    steady: float | None
    peak: float | None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from above_zero(before_load=self.before_load, steady=self.steady, peak=self.peak)
        for name, value in (("before_load", self.before_load), ("steady", self.steady)):
            if value is not None and self.peak is not None:
                yield from ascending(**{name: value}, peak=self.peak)


@dataclass(frozen=True)
class Energy:
    """What an image costs.

    Attributes:
        source: what told it, such as "RAPL package-0".
        parts: joules an image of each part of the time; empty in records of before they were kept.
    """

    joules_per_image: float
    source: str
    parts: list[float] = field(default_factory=list)

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from above_zero(joules_per_image=self.joules_per_image)
        yield from above_zero(parts=min(self.parts, default=None))
        yield from named(source=self.source)


@dataclass(frozen=True)
class Startup:
    """Milliseconds until the first answer."""

    import_: float
    load: float
    first_inference: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.import_ + self.load + self.first_inference

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(0, load=self.load, first_inference=self.first_inference)
        yield from at_least(0, **{"import": self.import_})


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy (0..1) over `n` images, with Wilson's 95 % interval.

    Attributes:
        right: which images were answered rightly: a bit for each in their order, as hexadecimal
            digits; zeros fill the last byte. None in records of before it was kept.
        labels_sha256: of the images' labels: with the same, another bundle answered the same.
        answers: number of the class that each image was given, in their order, with a space between
            them; None in records of before they were kept.
    """

    top1: float
    n: int
    low: float
    high: float
    right: str | None = None
    labels_sha256: str | None = None
    answers: str | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(1, n=self.n)
        yield from shares(low=self.low, top1=self.top1, high=self.high)
        yield from ascending(low=self.low, top1=self.top1, high=self.high)
        yield from sha256(labels_sha256=self.labels_sha256)
        if self.n < 1 or self.right is None:
            return
        count = bits_set(self.right, self.n)
        if count is None:
            yield f"right must be the bits of {self.n} images, but got {self.right[:80]!r}"
        elif abs(count - self.top1 * self.n) > 0.01:
            yield f"right has {count} of {self.n} images, but top1 is {self.top1:g}"
        yield from _answer_problems(self.answers, self.n)


@dataclass(frozen=True)
class Conditions:
    """The machine at a moment, as far as it tells; None is "unavailable", and never zero.

    Attributes:
        at: "before", "during" or "after" the queries; during them, the worst that was seen.
        governor: the frequency policy of the cores.
        frequency_mhz: the slowest clock of the cores that are used.
        temperature_c: of the hottest thermal zone.
        throttled: whether the machine slows itself down, for heat or want of power.
        load_average: over the last minute.
        other_cpu: share of all cores' time that other processes took (0..1).
        swap_mb: of the machine's memory on disk, MiB.
        held_back: periods (a tenth of a second mostly) in which a container's quota of the CPU was
            used up and the process had to wait, since the last look.
    """

    at: str
    governor: str | None = None
    frequency_mhz: float | None = None
    temperature_c: float | None = None
    throttled: bool | None = None
    load_average: float | None = None
    other_cpu: float | None = None
    swap_mb: float | None = None
    held_back: int | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from known(MOMENTS, at=self.at)
        yield from named(governor=self.governor)
        yield from at_least(0, frequency_mhz=self.frequency_mhz, load_average=self.load_average)
        yield from at_least(0, swap_mb=self.swap_mb, held_back=self.held_back)
        yield from shares(other_cpu=self.other_cpu)


@dataclass(frozen=True)
class Validity:
    """Whether the figures speak of the bundle, or of what else went on.

    Attributes:
        verdict: "valid" or "suspect".
        reasons: why suspect.
        unavailable: what the machine does not tell.
    """

    verdict: str
    reasons: list[str]
    unavailable: list[str]

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from known(VERDICTS, verdict=self.verdict)
        if (self.verdict == SUSPECT) != bool(self.reasons):
            yield f"verdict is {self.verdict}, with {len(self.reasons)} reasons to doubt it"


@dataclass(frozen=True)
class Parity:
    """How the outputs on the probe agree with the original's.

    A model of a free batch size is asked one by one and in batches; the worse figure counts.

    Attributes:
        max_abs_error: largest absolute difference of a logit, or of any number of an output.
        relative_error: that, divided by the largest absolute reference logit; where that is 0, the
            error over the smallest float32 (None in records of before). Of a graph that is no
            classifier the largest of its outputs, each as a share of its spread; None where none
            is of floating numbers.
        top1_agreement: share of images with the same first class; None where there are no classes.
        n: number of images, or samples.
        outputs: of a graph that is no classifier, each output by itself; else empty.
    """

    max_abs_error: float
    relative_error: float | None
    top1_agreement: float | None
    n: int
    outputs: list[OutputAgreement] = field(default_factory=list)

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(1, n=self.n)
        yield from at_least(0, max_abs_error=self.max_abs_error, relative_error=self.relative_error)
        yield from shares(top1_agreement=self.top1_agreement)


@dataclass(frozen=True)
class WorkerStep:
    """What a worker is at: "progress"."""

    step: str
    number: int
    of: int

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from known(STEPS, step=self.step)
        yield from at_least(1, number=self.number)
        yield from ascending(number=self.number, of=self.of)


@dataclass(frozen=True)
class Warmed:
    """How a process warmed up.

    Attributes:
        n: queries that it took.
        steady: False when the time for it was over before queries stopped getting faster.
    """

    n: int
    steady: bool

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(1, n=self.n)


@dataclass(frozen=True)
class Timed:
    """A part of the samples.

    Attributes:
        ns: nanoseconds of each query.
        span_ns: from the beginning of the first to the end of the last.
    """

    ns: list[int]
    span_ns: int

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from _samples(self.ns)
        yield from above_zero(span_ns=self.span_ns)


@dataclass(frozen=True)
class Consumed:
    """Energy of a part of the timed queries."""

    joules: float
    images: int
    source: str

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from above_zero(joules=self.joules)
        yield from at_least(1, images=self.images)
        yield from named(source=self.source)


@dataclass(frozen=True)
class Counted:
    """What the next `n` images of the evaluation file were called, and which of them rightly: as
    `Accuracy.answers` and `Accuracy.right`."""

    right: str
    n: int
    answers: str | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(1, n=self.n)
        if self.n >= 1 and bits_set(self.right, self.n) is None:
            yield f"right must be the bits of {self.n} images, but got {self.right[:80]!r}"
        yield from _answer_problems(self.answers, self.n)


@dataclass(frozen=True)
class DeviceResult:
    """What the device says of a bundle at the end."""

    runtime: RuntimeUsed
    parity: Parity


@dataclass(frozen=True)
class Started:
    """How one of several processes of the same job began.

    Attributes:
        memory_mb: after its queries; None where it did not come so far.
    """

    startup_ms: Startup
    memory_mb: Memory | None = None


@dataclass(frozen=True)
class Ready:
    """A server whose engine is loaded, checked and warm."""

    runtime: RuntimeUsed
    parity: Parity
    startup_ms: Startup
    warmup_n: int

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(1, warmup_n=self.warmup_n)


def _answer_problems(answers: str | None, n: int) -> Iterator[str]:
    """What cannot be of the classes that `n` images were given."""
    if answers is None:
        return
    words = answers.split(" ")
    if len(words) != n or not all(_CLASS.fullmatch(word) for word in words):
        yield f"answers must be {n} numbers of classes, but got {answers[:80]!r}"


def _samples(ns: list[int]) -> Iterator[str]:
    """What cannot be of the nanoseconds of queries."""
    if not ns:
        yield "ns must hold a query's time, but is empty"
    yield from above_zero(ns=min(ns, default=1))
