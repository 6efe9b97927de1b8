"""A measurement of all that its processes sent, however many they were."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from deploy_targets.device.checks import accuracy_in_parts, accuracy_of
from deploy_targets.device.facts import Facts
from deploy_targets.device.jobs import Done, Job
from deploy_targets.device.messages import (
    MULTI_STREAM,
    OFFLINE,
    SINGLE_STREAM,
    Conditions,
    Consumed,
    Counted,
    DeviceResult,
    Energy,
    Memory,
    Message,
    Scenario,
    Started,
    Startup,
    Throughput,
    Timed,
    Warmed,
)
from deploy_targets.device.percentiles import percentile_of
from deploy_targets.device.timing import MIN_QUERIES, summarise
from deploy_targets.hosts.answers import build_answer, content_of, not_understood
from deploy_targets.measuring.validity import judge
from foundation.sense import ascending, at_least

T = TypeVar("T")

# What a worker may send, in this order; conditions are looked at between the parts.
_RECORDS: dict[str, type] = {
    "facts": Facts,
    "startup": Startup,
    "warm": Warmed,
    "conditions": Conditions,
    "timed": Timed,
    "energy": Consumed,
    "memory": Memory,
    "throughput": Throughput,
    "counted": Counted,
    "result": DeviceResult,
    "started": Started,
}
_ORDER = {kind: place for place, kind in enumerate(_RECORDS)} | {"timed": 3, "energy": 3}
_BEGIN = frozenset({"facts", "started"})
_BEFORE_ALL = -1
_MOST_KEPT = 20_000  # samples of a measurement: about 200 kB


class Brought:
    """What a host's processes sent for one job, by kind, in the order of time.

    Each message is checked before it is taken: that it is one of this version's, says what can be,
    fits the job and those before it, and comes in its turn.

    Args:
        job: what was asked for.
        host: for messages to the user.
        images: of the evaluation file; 0 for none.

    Attributes:
        records: by kind.
        starts: of each process, how it began and what memory it took.
    """

    def __init__(self, job: Job, host: str, images: int = 0) -> None:
        self.records: dict[str, list[Any]]
        self.starts: list[Started]
        self.job, self._host, self._images = job, host, images
        self._scenario = job.full_scenario()
        self.forget()

    def forget(self) -> None:
        """Begin with nothing."""
        self.records = {kind: [] for kind in _RECORDS}
        self.starts = []
        self.begin()

    def begin(self) -> None:
        """A process begins."""
        self._at = _BEFORE_ALL

    def add(self, message: Message) -> None:
        """Take a message.

        Raises:
            HostError: when it is none that a worker of this version sends now.
        """
        kind = message["kind"]
        if kind not in _RECORDS:
            raise not_understood(self._host, f"{kind[:80]!r} is no message of its")
        record: Any = build_answer(_RECORDS[kind], content_of(message), self._host, kind)
        is_next = _ORDER[kind] >= self._at and (kind in _BEGIN) == (self._at == _BEFORE_ALL)
        problem = next(self._problems(kind, record), None) if is_next else "it comes out of turn"
        if problem is not None:
            raise not_understood(self._host, f"{kind}: {problem}")
        self._at = _ORDER[kind]
        self.records[kind].append(record)
        if kind == "startup":
            self.starts.append(Started(record))
        elif kind == "memory":
            self.starts[-1] = replace(self.starts[-1], memory_mb=record)
        elif kind == "started":
            self.starts.append(record)

    def restore(self, messages: Sequence[Message]) -> None:
        """Take messages of earlier processes; errors as `add`."""
        for message in messages:
            if message["kind"] in _BEGIN:
                self.begin()
            self.add(message)

    def _problems(self, kind: str, record: Any) -> Iterator[str]:
        """What of a message does not fit the job, or those before it."""
        if kind == "timed" and self._scenario.name in {SINGLE_STREAM, MULTI_STREAM}:
            yield from ascending(ns=sum(record.ns), span_ns=record.span_ns)
        elif kind == "timed" and self._scenario.name == OFFLINE:
            yield from ascending(ns=max(record.ns), span_ns=record.span_ns)
        elif kind == "energy":
            queries = self.done.queries
            if record.images > queries * self._scenario.images_a_query:
                yield f"images ({record.images}) of {queries} queries"
        elif kind == "memory" and not self.records["startup"]:
            yield "there was no 'startup' before it"
        elif kind == "throughput" and record.batch != self.job.throughput_batch:
            yield f"batch is {record.batch}, but {self.job.throughput_batch} was asked for"
        elif kind == "counted" and self.done.images + record.n > self._images:
            yield f"{self.done.images + record.n} images, but {self._images} were asked"
        elif kind == "result":
            yield from self._lacking(record)

    def _lacking(self, result: DeviceResult) -> Iterator[str]:
        """What a job that is said to be done lacks."""
        done, runtime = self.done, result.runtime
        for kind in ("startup", "warm", "conditions", "memory"):
            if not self.records[kind]:
                yield f"there was no {kind!r} before it"
        yield from at_least(MIN_QUERIES, queries=done.queries)
        if not done.throughput and self._scenario.name != OFFLINE:
            yield "there was no 'throughput' before it"
        if done.images != self._images:
            yield f"{done.images} images were answered, but {self._images} were asked"
        if runtime.name != self.job.runtime:
            yield f"it ran in {runtime.name}, but {self.job.runtime} was asked for"
        if self.job.threads is not None and runtime.threads != self.job.threads:
            yield f"threads are {runtime.threads}, but {self.job.threads} were asked for"

    @property
    def done(self) -> Done:
        """What need not be done again."""
        timed: list[Timed] = self.records["timed"]
        return Done(
            queries=sum(len(part.ns) for part in timed),
            timed_s=sum(part.span_ns for part in timed) / 1e9,
            images=sum(counted.n for counted in self.records["counted"]),
            throughput=bool(self.records["throughput"]),
            memory=bool(self.records["memory"]),
        )

    @property
    def is_whole(self) -> bool:
        """Whether a process did the job to its end."""
        return bool(self.records["result"])

    def facts(self) -> Facts:
        """Of the machine, when the first process began."""
        facts: Facts = self.records["facts"][0]
        return facts

    def judged(
        self, labels_sha256: Sequence[str] = (), agreement_from: int | None = None
    ) -> dict[str, Any]:
        """What a measurement says of the answers, by the names of its fields.

        Args:
            labels_sha256: of the images' labels; of those before `agreement_from` and of the rest,
                where there is such a number.
            agreement_from: as that of `MeasureOptions`.
        """
        counted: list[Counted] = self.records["counted"]
        if not counted:
            return {"accuracy": None}
        if agreement_from is None:
            return {"accuracy": accuracy_of(counted, next(iter(labels_sha256), None))}
        before, since = labels_sha256
        accuracy, agreement = accuracy_in_parts(counted, (before, since), agreement_from)
        return {"accuracy": accuracy, "agreement": agreement}

    def figures(self, precision: str, power: dict[str, str]) -> dict[str, Any]:
        """What else it says beside bundle and host, by the names of its fields."""
        seen, scenario = self.records, self._scenario
        result: DeviceResult = seen["result"][-1]
        timed: list[Timed] = seen["timed"]
        samples = [ns for part in timed for ns in part.ns]
        warmup_n = sum(warmup.n for warmup in seen["warm"])
        return {
            "runtime": result.runtime,
            "scenario": scenario,
            "latency_ms": summarise(samples, warmup_n, self.job.percents),
            "samples_us": _kept(timed) if len(samples) <= _MOST_KEPT else [],
            "throughput": _throughput(scenario, timed, seen["throughput"]),
            "memory_mb": seen["memory"][-1],
            "startup_ms": seen["startup"][0],
            "starts": self.starts,
            "energy": _energy(seen["energy"]),
            "parity": result.parity,
            "conditions": seen["conditions"],
            "validity": judge(
                timed,
                warmed=seen["warm"],
                conditions=seen["conditions"],
                runtime=result.runtime,
                scenario=scenario,
                precision=precision,
                power=power,
            ),
            "launches": len(seen["facts"]),
        }


def _kept(timed: Sequence[Timed]) -> list[str]:
    """Samples as a measurement keeps them: microseconds, to the nanosecond."""
    return [" ".join(f"{ns / 1e3:.3f}" for ns in part.ns) for part in timed]


def _energy(consumed: Sequence[Consumed]) -> Energy | None:
    images = sum(part.images for part in consumed)
    if not images:
        return None
    parts = [part.joules / part.images for part in consumed]
    return Energy(sum(part.joules for part in consumed) / images, consumed[-1].source, parts)


def _throughput(
    scenario: Scenario, timed: Sequence[Timed], measured: Sequence[Throughput]
) -> Throughput:
    """That which was measured; offline it is that of the queries themselves, part by part."""
    if scenario.name != OFFLINE:
        return measured[-1]
    rates = sorted(len(part.ns) * scenario.batch / (part.span_ns / 1e9) for part in timed)
    median = percentile_of(rates, 50)
    if median is None:
        return Throughput(scenario.batch, statistics.median(rates), rates[0], rates[-1])
    return Throughput(scenario.batch, median.value, median.low, median.high)
