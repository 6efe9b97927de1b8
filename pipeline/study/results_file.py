"""The results file of a study: a line of JSON for each arm and seed that is done, and before them
one that says what the study is about, so that neither data nor teachers are needed to report.

It is small and sorted, so that it can be committed as results come, and a study goes on from it on
any machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from foundation.documents import LARGEST_JSON
from foundation.errors import CorruptFileError
from foundation.files import read_bounded, write_text
from foundation.records import as_dict, misfits, record_on_line
from foundation.sense import above_zero, at_least, known, named, sha256, shares
from pipeline.data.facts import DataFacts
from pipeline.run_folder.records import RetentionRecord
from pipeline.study.folder import ArmResult
from pipeline.study.subject import Networks, Subject, TaughtBy

T = TypeVar("T")
Key = tuple[int, str]
"""Seed and arm: in this order lines are sorted, so that a seed's results stand together."""

_KIND, _VERSION = "study-results", 1
_ADVICE = "take the line out to train that anew, or put the file back as it was"
# So many of a curve's points are kept: enough to draw it, few enough for a line of 1 to 2 kB.
_POINTS = 24


@dataclass(frozen=True)
class KeptCurve:
    """Validation top-1 (shares, 0..1) after some of the epochs, the last among them."""

    epochs: list[int]
    top1: list[float | None]

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        if not self.epochs or len(self.epochs) != len(self.top1):
            yield "must have an accuracy for each epoch, and one at least"
        if any(later <= earlier for earlier, later in pairwise([0, *self.epochs])):
            yield "epochs must ascend from 1"
        for top1 in self.top1:
            yield from shares(top1=top1)


@dataclass(frozen=True, kw_only=True)
class ResultLine:
    """What one arm came to with one seed. Accuracies are shares, 0..1.

    Attributes:
        fingerprint: of all that the result depends on but the teacher's weights.
        teacher: who taught it.
        validation_top1, test_top1: of the student that the arm ends with.
        after_stage: validation top-1 of the student that each stage hands on.
        seconds_per_epoch: the median.
        seconds: of all epochs together; None where an earlier version left it out.
        retention: see `smskd.retention_matrix`; None for an arm of one stage.
        curve: the way there, thinned.
        versions: what trained it.
    """

    arm: str
    seed: int
    fingerprint: str
    teacher: TaughtBy
    validation_top1: float
    test_top1: float
    after_stage: list[float]
    seconds_per_epoch: float
    retention: dict[str, Any] | None
    curve: KeptCurve
    versions: dict[str, str | None]
    seconds: float | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from named(arm=self.arm)
        yield from at_least(0, seed=self.seed)
        yield from sha256(fingerprint=self.fingerprint)
        yield from above_zero(seconds_per_epoch=self.seconds_per_epoch, seconds=self.seconds)
        yield from shares(validation_top1=self.validation_top1, test_top1=self.test_top1)
        for top1 in self.after_stage:
            yield from shares(after_stage=top1)
        if self.retention is not None:
            yield from misfits(RetentionRecord, self.retention, "retention")

    @property
    def key(self) -> Key:
        """Where it stands in the file."""
        return self.seed, self.arm

    def result(self, fingerprint: str) -> ArmResult:
        """The same as a study's folder has it; of the way there, the epochs that are kept.

        Args:
            fingerprint: of all that it depends on, its teacher's weights too.
        """
        pairs = zip(self.curve.epochs, self.curve.top1, strict=True)
        return ArmResult(
            fingerprint=fingerprint,
            arm=self.arm,
            seed=self.seed,
            validation_top1=self.validation_top1,
            test_top1=self.test_top1,
            history=[{"epoch": epoch, "val_top1": top1} for epoch, top1 in pairs],
            after_stage=self.after_stage,
            seconds_per_epoch=self.seconds_per_epoch,
            seconds=self.seconds,
            retention=self.retention,
            versions=self.versions,
        )


def line_of(result: ArmResult, fingerprint: str, teacher: TaughtBy) -> ResultLine:
    """A result as a line.

    Args:
        result: of an arm.
        fingerprint: of all that it depends on but the teacher's weights.
        teacher: who taught it.
    """
    validated = [point for point in result.history if point["val_top1"] is not None]
    apart = -(-len(validated) // _POINTS)
    kept = validated[::-1][::apart][::-1] if validated else []
    return ResultLine(
        arm=result.arm,
        seed=result.seed,
        fingerprint=fingerprint,
        teacher=teacher,
        validation_top1=result.validation_top1,
        test_top1=result.test_top1,
        after_stage=result.after_stage,
        seconds_per_epoch=result.seconds_per_epoch,
        seconds=result.seconds,
        retention=result.retention,
        curve=KeptCurve([point["epoch"] for point in kept], [point["val_top1"] for point in kept]),
        versions=result.versions,
    )


@dataclass(frozen=True, kw_only=True)
class _Heading:
    """The first line."""

    kind: str = _KIND
    schema_version: int = _VERSION
    study: str
    networks: Networks
    data: DataFacts

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from known([_KIND], kind=self.kind)
        if self.schema_version != _VERSION:
            yield f"schema_version must be {_VERSION}, but got {self.schema_version}"


@dataclass(frozen=True)
class KnownResults:
    """The content of a results file.

    Attributes:
        study: the study's name.
        subject: what it is about.
        lines: all results.
    """

    study: str
    subject: Subject
    lines: Mapping[Key, ResultLine]


@dataclass(frozen=True)
class ResultsFile:
    """A results file on disk, which one process writes at a time."""

    path: Path

    def read(self) -> KnownResults | None:
        """What stands in it; None where there is no such file yet.

        Raises:
            CorruptFileError: when a line is none of ours, or stands there twice.
        """
        if not self.path.exists():
            return None
        texts = read_bounded(self.path, LARGEST_JSON).removesuffix(b"\n").split(b"\n")
        heading = self._parsed(1, texts[0], _Heading, "what a study is about")
        lines: dict[Key, ResultLine] = {}
        for number, text in enumerate(texts[1:], start=2):
            line = self._parsed(number, text, ResultLine, "the result of an arm")
            if line.key in lines:
                raise CorruptFileError(
                    f"{self.path}: line {number} is the second of arm {line.arm!r}, seed "
                    f"{line.seed}; take one of them out"
                )
            lines[line.key] = line
        return KnownResults(heading.study, Subject(heading.data, heading.networks), lines)

    def put(self, line: ResultLine, study: str, subject: Subject) -> None:
        """Add a result, or put it in the place of the one of that arm and seed.

        The file is read again first: somebody may have brought in other lines meanwhile.

        Args:
            line: the result.
            study: the study's name, for a file that is new.
            subject: what it is about, for the same.

        Raises:
            CorruptFileError: as `read`.
            NoSpaceError: when the disk is full.
        """
        before = self.read() or KnownResults(study, subject, {})
        if before.lines.get(line.key) == line:
            return
        lines = {**before.lines, line.key: line}
        heading = _Heading(
            study=before.study, networks=before.subject.networks, data=before.subject.data
        )
        rows = [heading, *(lines[key] for key in sorted(lines))]
        texts = [json.dumps(as_dict(row), allow_nan=False) for row in rows]
        write_text(self.path, "\n".join(texts) + "\n")

    def _parsed(self, number: int, text: bytes, record: type[T], what: str) -> T:
        return record_on_line(self.path, number, text, record, description=what, advice=_ADVICE)
