"""A measurement to give away: what a board's owner adds to `benchmarks/submissions/`.

It is made field by field from what is known to say nothing of whose machine it was: no name of a
host, no user, path, address or serial number, and no name that somebody gave to a network or a
target of their own. What was made so is looked over once more, and again whenever it is read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    Startup,
    Throughput,
    Validity,
)
from deploy_targets.measurement import Measurement, uncarried
from deploy_targets.measuring.validity import doubts_of_machine, wrong_precision
from deploy_targets.targets import is_shipped
from foundation.errors import UsageError
from foundation.files import write_json
from foundation.manifest import Manifest
from foundation.records import as_dict, read_record
from foundation.sense import above_zero, at_least, named, sha256, shares

KIND = "submission"
SCHEMA_VERSION = 1
OWN = "own"
"""In the place of a name that somebody gave to a network or a target of their own."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_RELEASE = re.compile(r"\w+ \d+(\.\d+)*")
# A library's, and those of the families that ship; the name of a plug-in or a file is its owner's.
_PUBLIC_NETWORK = re.compile(
    r"own|(torchvision|timm)/[\w.]+|(resnet|wrn|vgg|mobilenet|shufflenet)[a-z0-9_-]*"
)
_IDENTIFYING: Mapping[str, re.Pattern[str]] = {
    "a path": re.compile(r"(^|[\s'\"(=])(~|\.{0,2}/\w|[A-Za-z]:\\)"),
    "a URL": re.compile(r"\w://"),
    "a user or an e-mail address": re.compile(r"[\w.+-]+@[\w-]"),
    "an IP address": re.compile(r"(?<![\w.])\d{1,3}(\.\d{1,3}){3}(?![\w.])|[0-9a-f]*::[0-9a-f]"),
    "a hardware address": re.compile(r"\b[0-9a-f]{2}([:-][0-9a-f]{2}){5}\b", re.IGNORECASE),
    "a name of a host": re.compile(r"\b[\w-]+\.(local|lan|home|internal|localdomain)\b"),
    "a serial number": re.compile(r"(?<![0-9a-f])[0-9a-f]{12,}(?![0-9a-f])", re.IGNORECASE),
}


@dataclass(frozen=True, kw_only=True)
class BoardFacts:
    """The machine, as far as others have the same.

    Attributes:
        cpu: model name of the processor.
        board: name of the board, where the firmware gives one.
        arch: "x86_64", "aarch64", ...
        logical_cores: that the system has.
        usable_cores: that the process could keep busy.
        memory_mb: memory of the machine, in MiB.
        features: instruction sets that matter for INT8 and 16-bit floats.
        governor: the frequency policy of the first core.
        frequency_mhz: its clock when the measurement began.
        os: the system and the numbers of its release.
        python: the version.
        cpu_quota: cores' worth of time that a container may take; null where nothing limits it.
    """

    cpu: str | None
    board: str | None
    arch: str
    logical_cores: int | None
    usable_cores: int | None
    memory_mb: int | None
    features: list[str] | None
    governor: str | None
    frequency_mhz: float | None
    os: str
    python: str
    cpu_quota: float | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from named(cpu=self.cpu, board=self.board, arch=self.arch, governor=self.governor)
        yield from named(python=self.python)
        yield from above_zero(memory_mb=self.memory_mb, cpu_quota=self.cpu_quota)
        yield from at_least(1, logical_cores=self.logical_cores, usable_cores=self.usable_cores)
        if not _RELEASE.fullmatch(self.os):
            yield f"os must be a system and the numbers of its release, but got {self.os[:80]!r}"


@dataclass(frozen=True, kw_only=True)
class SubmittedBundle:
    """What was measured; whoever has the same bundle has the same SHA-256.

    Attributes:
        manifest_sha256: stands for all of its files.
        network: its name where everybody can have it, else "own".
        target: that it was made for, where it ships with the program, else "own".
        input_shape: sizes of one image's input, channels first or last as the bundle has them.
        classes: how many.
    """

    manifest_sha256: str
    network: str
    target: str
    role: str
    format: str
    precision: str
    input_shape: list[int | str]
    classes: int
    model_bytes: int

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from sha256(manifest_sha256=self.manifest_sha256)
        yield from named(target=self.target, role=self.role, format=self.format)
        yield from named(precision=self.precision)
        yield from above_zero(model_bytes=self.model_bytes, classes=self.classes)
        if not _PUBLIC_NETWORK.fullmatch(self.network):
            yield f"network must be a public name or {OWN!r}, but got {self.network[:80]!r}"


@dataclass(frozen=True)
class SubmittedAccuracy:
    """On the test images of whoever measured.

    Attributes:
        top1: share that was answered rightly (0..1), of n images, with Wilson's 95 % interval.
    """

    top1: float
    n: int
    low: float
    high: float

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(1, n=self.n)
        yield from shares(top1=self.top1, low=self.low, high=self.high)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One bundle measured on one board, to be given away.

    Attributes:
        program: the release of this program.
        date: on which it was measured, YYYY-MM-DD, UTC.
        latency_ms: of a query, in milliseconds; each percentile with bounds of 99 %.
        memory_mb: of the process, in MiB.
        conditions: of the machine before, during and after.
        validity: "valid"; a suspect measurement is not given away.
        launches: processes that it took.
    """

    schema_version: int = SCHEMA_VERSION
    kind: str = KIND
    program: str
    date: str
    device: BoardFacts
    bundle: SubmittedBundle
    runtime: RuntimeUsed
    scenario: Scenario
    latency_ms: Latency
    throughput: Throughput
    memory_mb: Memory
    startup_ms: Startup
    energy: Energy | None
    accuracy: SubmittedAccuracy | None
    parity: Parity
    conditions: list[Conditions]
    validity: Validity
    launches: int = 1

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from uncarried(self.latency_ms)
        yield from at_least(1, launches=self.launches)
        yield from named(program=self.program)
        if not _DATE.fullmatch(self.date):
            yield f"date must be YYYY-MM-DD, but got {self.date[:80]!r}"
        # A file is anybody's to edit: what it calls valid must be so by what else stands in it.
        doubts = [*self.validity.reasons, *doubts_of_machine(self.conditions, {})]
        doubts += wrong_precision(self.runtime, self.bundle.precision)
        if doubts:
            yield "it is suspect: " + "; ".join(dict.fromkeys(doubts))
        yield from identifying(as_dict(self))


def identifying(content: Any, place: str = "") -> Iterator[str]:
    """What in a record may say whose machine it was, in words."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from identifying(str(key), f"{place}.{key}")
            if key != "manifest_sha256":
                yield from identifying(value, f"{place}.{key}")
    elif isinstance(content, list):
        for value in content:
            yield from identifying(value, place)
    elif isinstance(content, str):
        for kind, pattern in _IDENTIFYING.items():
            if pattern.search(content):
                yield f"{place.lstrip('.')} has what may be {kind}: {content[:80]!r}"


def submission_of(measurement: Measurement, manifest: Manifest, program: str) -> Submission:
    """What of a measurement can be given away.

    Args:
        measurement: of the bundle.
        manifest: the bundle's.
        program: the release of this program.

    Raises:
        UsageError: when the measurement is suspect, or a name in it may say whose machine it was.
    """
    submission = Submission(
        program=program,
        date=measurement.started_at[:10],
        device=_board(measurement.host.facts),
        bundle=_bundle(measurement, manifest),
        runtime=measurement.runtime,
        scenario=measurement.scenario,
        latency_ms=measurement.latency_ms,
        throughput=measurement.throughput,
        memory_mb=measurement.memory_mb,
        startup_ms=measurement.startup_ms,
        energy=measurement.energy,
        accuracy=_accuracy(measurement.accuracy),
        parity=measurement.parity,
        conditions=measurement.conditions,
        validity=measurement.validity,
        launches=measurement.launches,
    )
    problems = list(submission.problems()) + list(submission.device.problems())
    if problems:
        raise UsageError(f"{measurement.bundle.name}: is not given away: {'; '.join(problems)}")
    return submission


def write_submission(folder: Path, submission: Submission) -> Path:
    """Write a record into a folder, in one step; the same record always has the same name."""
    content = as_dict(submission)
    text = json.dumps(content, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    device, bundle = submission.device, submission.bundle
    words = [device.board or device.cpu or device.arch, bundle.network]
    words += [f"{bundle.format}-{bundle.precision}", digest]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{'.'.join(map(_in_a_file_name, words))}.json"
    write_json(path, content)
    return path


def read_submission(path: Path) -> Submission:
    """Read a record that `write_submission` wrote.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is anything else, is suspect, or says whose machine it may be.
    """
    return read_record(path, Submission, "a submission", "write it with `compress bench --submit`")


def _board(facts: Facts) -> BoardFacts:
    release = _RELEASE.match(facts.os)
    return BoardFacts(
        cpu=facts.cpu,
        board=facts.board,
        arch=facts.arch,
        logical_cores=facts.logical_cores,
        usable_cores=facts.usable_cores,
        memory_mb=facts.memory_mb,
        features=facts.features,
        governor=facts.governor,
        frequency_mhz=facts.frequency_mhz,
        # What follows the numbers is whatever the builder of the kernel wrote there.
        os=release[0] if release else "Linux 0",
        python=facts.python,
        cpu_quota=facts.cpu_quota,
    )


def _bundle(measurement: Measurement, manifest: Manifest) -> SubmittedBundle:
    network = str(manifest.origin.get("model", OWN))
    target = measurement.bundle.target
    return SubmittedBundle(
        manifest_sha256=measurement.bundle.manifest_sha256,
        network=network if _PUBLIC_NETWORK.fullmatch(network) else OWN,
        target=target if is_shipped(target) else OWN,
        role=measurement.bundle.role,
        format=measurement.bundle.format,
        precision=measurement.bundle.precision,
        input_shape=manifest.input.shape[1:],
        classes=len(manifest.classes),
        model_bytes=measurement.bundle.model_bytes,
    )


def _accuracy(accuracy: Accuracy | None) -> SubmittedAccuracy | None:
    if accuracy is None:
        return None
    return SubmittedAccuracy(accuracy.top1, accuracy.n, accuracy.low, accuracy.high)


def _in_a_file_name(word: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")[:60] or "unknown"
