"""A measurement of all that its processes sent, however many they were."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from deploy_targets.answers import build_answer, content_of
from deploy_targets.device.checks import accuracy_of
from deploy_targets.device.facts import Facts
from deploy_targets.device.messages import (
    OFFLINE,
    Conditions,
    Consumed,
    Counted,
    DeviceResult,
    Done,
    Energy,
    Message,
    Scenario,
    Startup,
    Throughput,
    Timed,
    Warmed,
)
from deploy_targets.device.percentiles import percentile_of
from deploy_targets.device.timing import summarise
from deploy_targets.validity import judge

T = TypeVar("T")

_RECORDS: dict[str, type] = {
    "facts": Facts,
    "startup": Startup,
    "warm": Warmed,
    "conditions": Conditions,
    "timed": Timed,
    "energy": Consumed,
    "throughput": Throughput,
    "counted": Counted,
    "result": DeviceResult,
}


@dataclass(frozen=True)
class Brought:
    """What a host's processes sent for one job, by kind, in the order of time."""

    records: dict[str, list[Any]]

    @classmethod
    def of(cls, messages: Sequence[Message], host: str) -> Brought:
        """Sort messages.

        Raises:
            HostError: when one is another than this version's.
        """
        records: dict[str, list[Any]] = {kind: [] for kind in _RECORDS}
        for message in messages:
            kind = message["kind"]
            if kind in _RECORDS:
                records[kind].append(build_answer(_RECORDS[kind], content_of(message), host))
        return cls(records)

    @property
    def done(self) -> Done:
        """What need not be done again."""
        timed: list[Timed] = self.records["timed"]
        return Done(
            queries=sum(len(part.ns) for part in timed),
            timed_s=sum(part.span_ns for part in timed) / 1e9,
            images=sum(one.n for one in self.records["counted"]),
            throughput=bool(self.records["throughput"]),
        )

    @property
    def is_whole(self) -> bool:
        """Whether a process did the job to its end."""
        return bool(self.records["result"])

    def facts(self) -> Facts:
        """Of the machine, when the first process began."""
        found: Facts = self.records["facts"][0]
        return found

    def figures(
        self,
        scenario: Scenario,
        percents: Sequence[float],
        precision: str,
        power: dict[str, str],
        labels_sha256: str | None = None,
    ) -> dict[str, Any]:
        """What a measurement says beside bundle and host, by the names of its fields."""
        seen = self.records
        result: DeviceResult = seen["result"][-1]
        timed: list[Timed] = seen["timed"]
        samples = [ns for part in timed for ns in part.ns]
        warmup_n = sum(one.n for one in seen["warm"])
        return {
            "runtime": result.runtime,
            "scenario": scenario,
            "latency_ms": summarise(samples, warmup_n, percents),
            "throughput": _throughput(scenario, timed, seen["throughput"]),
            "memory_mb": result.memory_mb,
            "startup_ms": seen["startup"][0],
            "energy": _energy(seen["energy"]),
            "accuracy": accuracy_of(seen["counted"], labels_sha256) if seen["counted"] else None,
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


def _energy(consumed: Sequence[Consumed]) -> Energy | None:
    images = sum(one.images for one in consumed)
    if not images:
        return None
    return Energy(sum(one.joules for one in consumed) / images, consumed[-1].source)


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
