"""A measurement: what a host brought back for one bundle, as a record and as a JSON file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy_targets.device.facts import Facts
from deploy_targets.device.messages import (
    Accuracy,
    Conditions,
    Energy,
    Latency,
    Memory,
    Parity,
    RuntimeUsed,
    Scenario,
    Started,
    Startup,
    Throughput,
    Validity,
)
from deploy_targets.device.percentiles import fewest_queries
from foundation.bundle import AnyBundle, GraphManifest
from foundation.files import write_json
from foundation.records import as_dict, read_record, record_in
from foundation.sense import above_zero, at_least, named, sha256

SCHEMA_VERSION = 2
KIND = "measurement"

_SAMPLES = re.compile(r"\s*(?:\d{1,15}(?:\.\d{1,3})?(?:\s+|\Z))*")
_WHAT, _AGAIN = "a measurement", "measure again"


@dataclass(frozen=True)
class BundleMeasured:
    """Which bundle it was; `manifest_sha256` stands for all of its files.

    Attributes:
        scores: what the user's scorer gave the bundle of a graph when it was exported, by name; the
            first judges.
        score_drop: points (hundredths) by which that lies below the original's.
        score_tolerance: points that it was allowed to.
    """

    name: str
    role: str
    target: str
    format: str
    precision: str
    model_bytes: int
    manifest_sha256: str
    scores: dict[str, float] = field(default_factory=dict)
    score_drop: float | None = None
    score_tolerance: float | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from named(name=self.name, role=self.role, target=self.target)
        yield from named(format=self.format, precision=self.precision)
        yield from above_zero(model_bytes=self.model_bytes)
        yield from sha256(manifest_sha256=self.manifest_sha256)


@dataclass(frozen=True)
class HostMeasured:
    """Which machine it was, and its state when the measurement began."""

    name: str
    facts: Facts

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from named(name=self.name)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One bundle measured on one host.

    Attributes:
        scenario: how queries came.
        latency_ms: of a query, in milliseconds.
        startup_ms: of the first process, whose files may not have been in memory.
        memory_mb: of the last process that timed queries, in MiB.
        energy: None where the host does not tell.
        accuracy: on the evaluation file, or None if there was none.
        agreement: how often it answers images without labels as the teacher does, in the words of
            an accuracy, which it is not; None where there were none.
        parity: against the original's answers to the bundle's probe.
        conditions: of the machine before, during and after.
        validity: whether all that let the figures speak of the bundle.
        launches: processes that it took.
        seconds: that the call took which brought it to its end.
        started_at: when the first of its processes began; ISO 8601, UTC.
        starts: of each process, how it began and what memory it took, `startup_ms` and `memory_mb`
            among them; empty in records of before they were kept.
        samples_us: each query's microseconds in order, a line of numbers a part of the time, as
            they were timed; empty in records of before they were kept, and of very many queries.
    """

    schema_version: int = SCHEMA_VERSION
    kind: str = KIND
    bundle: BundleMeasured
    host: HostMeasured
    runtime: RuntimeUsed
    scenario: Scenario
    latency_ms: Latency
    throughput: Throughput
    memory_mb: Memory
    startup_ms: Startup
    energy: Energy | None
    accuracy: Accuracy | None
    parity: Parity
    conditions: list[Conditions]
    validity: Validity
    agreement: Accuracy | None = None
    launches: int = 1
    seconds: float
    started_at: str
    starts: list[Started] = field(default_factory=list)
    samples_us: list[str] = field(default_factory=list)

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from uncarried(self.latency_ms)
        yield from _sample_problems(self.samples_us, self.latency_ms)
        yield from at_least(1, launches=self.launches)
        yield from at_least(0, seconds=self.seconds)


def uncarried(latency: Latency) -> Iterator[str]:
    """Percentiles that so many queries cannot carry."""
    for name in latency.percentiles:
        needed = fewest_queries(float(name[1:]))
        if latency.n < needed:
            yield f"latency_ms has a {name} of {latency.n} queries, but it needs {needed}"


def samples_ms(measurement: Measurement) -> list[list[float]]:
    """Milliseconds of each query in the order of time, a list a part; none where none were kept."""
    return [[float(us) / 1e3 for us in part.split()] for part in measurement.samples_us]


def _sample_problems(parts: list[str], latency: Latency) -> Iterator[str]:
    """What of kept samples cannot be."""
    if not all(map(_SAMPLES.fullmatch, parts)):
        yield "samples_us must hold microseconds, such as 412.1, between spaces"
        return
    queries = sum(len(part.split()) for part in parts)
    if parts and queries != latency.n:
        yield f"samples_us has {queries} queries, but latency_ms is of {latency.n}"


def describe(bundle: AnyBundle) -> BundleMeasured:
    """What a measurement says of a bundle."""
    manifest = bundle.manifest
    return BundleMeasured(
        name=manifest.name,
        role=manifest.role,
        target=manifest.target,
        format=manifest.format,
        precision=manifest.precision,
        model_bytes=bundle.model_bytes,
        manifest_sha256=bundle.manifest_sha256,
        **_scored(manifest) if isinstance(manifest, GraphManifest) else {},
    )


def _scored(manifest: GraphManifest) -> dict[str, Any]:
    """What a graph's manifest says of its scores, where it has any."""
    return {
        "scores": dict(manifest.accuracy.get("scores", {})),
        "score_drop": manifest.accuracy.get("drop"),
        "score_tolerance": manifest.accuracy.get("tolerated"),
    }


def write_measurement(path: Path, measurement: Measurement) -> None:
    """Write a measurement as JSON, in one step."""
    write_json(path, as_dict(measurement))


def read_measurement(path: Path) -> Measurement:
    """Read a measurement that `write_measurement` wrote.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is anything else than a measurement of this schema.
    """
    return read_record(path, Measurement, _WHAT, _AGAIN)


def measurement_in(raw: object, path: Path) -> Measurement:
    """The measurement in what was read from a file; errors as `read_measurement`."""
    return record_in(raw, path, Measurement, _WHAT, _AGAIN)


def scenario_words(scenario: Scenario) -> str:
    """Such as "server, 20/s" or "multi-stream × 4, batch 2"."""
    words = scenario.name
    if scenario.streams:
        words += f" × {scenario.streams}"
    if scenario.batch > 1:
        words += f", batch {scenario.batch}"
    return words if scenario.rate is None else f"{words}, {scenario.rate:g}/s"
