"""What a run folder's own JSON files must look like: nothing in a file is believed unread.

Only what is relied on is described; keys beside those are another version's, and passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from foundation.bundle import MANIFEST, BundleManifest, GraphManifest
from foundation.files import read_json
from foundation.records import record_in
from foundation.sense import at_least, ends_of_interval, known, sha256, shares

SCHEMA_VERSION = 1

_ROLES = ("teacher", "alone", "student")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of a JSON file, in which further keys may be."""

    FURTHER_KEYS: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class StepRecord(Table):
    """A step that was done; see `pipeline.run_folder.folder.Step`."""

    depends_on: dict[str, Any]
    products: dict[str, str]
    remarks: list[str] = field(default_factory=list)

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        for name, digest in self.products.items():
            path = PurePosixPath(name)
            if not name or path.is_absolute() or ".." in path.parts:
                yield f"products must be paths within the run folder, but got {name[:80]!r}"
            yield from sha256(products=digest)


@dataclass(frozen=True, kw_only=True)
class TopOne(Table):
    """Accuracy of a network on some images."""

    top1: float
    n: int

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from shares(top1=self.top1)
        yield from at_least(1, n=self.n)


@dataclass(frozen=True, kw_only=True)
class TeacherAgreement(Table):
    """How often a network answers images without labels as the teacher does, with its interval."""

    share: float
    n: int
    low: float
    high: float

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from shares(share=self.share, low=self.low, high=self.high)
        yield from at_least(1, n=self.n)
        yield from ends_of_interval(low=self.low, high=self.high)


@dataclass(frozen=True, kw_only=True)
class Cost(Table):
    """What a network costs; a teacher that is asked may not tell."""

    parameters: int | None
    macs: int | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(0, parameters=self.parameters, macs=self.macs)


@dataclass(frozen=True, kw_only=True)
class Pruned(Table):
    """What one pruning left."""

    before_stage: int
    before: Cost
    after: Cost

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(1, before_stage=self.before_stage)


@dataclass(frozen=True, kw_only=True)
class NetworkRecord(Cost):
    """What a network is, and how well it does.

    Attributes:
        validation, test: accuracy, where images had labels.
        agreement: how often it answers images without labels as the teacher does, by their part.
    """

    model: str
    validation: TopOne | None = None
    test: TopOne | None = None
    agreement: dict[str, TeacherAgreement] = field(default_factory=dict)
    pruned: list[Pruned] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class RunRecord(Table):
    """The content of run.json.

    Attributes:
        asked: the recipe that it was last asked, in one word; see `is_asked_again`.
        threads: on how many a study trains its teacher; None where that is left to the machine.
        tags: by which a person finds it again.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    seed: int
    created_at: str
    commit: str | None
    python: str
    platform: str
    versions: dict[str, str | None]
    steps: dict[str, StepRecord]
    networks: dict[str, NetworkRecord] = field(default_factory=dict)
    adopted: str | None = None
    asked: str | None = None
    threads: int | None = None
    tags: list[str] = field(default_factory=list)

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(0, seed=self.seed)
        yield from at_least(1, threads=self.threads or 1)
        for role in self.networks:
            yield from known(_ROLES, networks=role)


@dataclass(frozen=True, kw_only=True)
class Point(Table):
    """An epoch of a stage, its accuracy on the validation images, and how often it answers those
    without labels as the teacher does."""

    epoch: int
    val_top1: float | None
    val_agreement: float | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(0, epoch=self.epoch)
        yield from shares(val_top1=self.val_top1, val_agreement=self.val_agreement)


@dataclass(frozen=True, kw_only=True)
class Epoch(Point):
    """What an epoch came to."""

    losses: dict[str, float]
    seconds: float

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from super().problems()
        yield from at_least(0, seconds=self.seconds)


@dataclass(frozen=True, kw_only=True)
class StageRecord(Table):
    """What a stage was asked for, as far as a report tells of it."""

    keep: str = "last"
    quantize: str = "none"
    weighting: str = ""


@dataclass(frozen=True, kw_only=True)
class TrainingRecord(Table):
    """The content of a metrics.json: of a stage, or of the teacher's training."""

    name: str
    index: int
    stage: StageRecord
    history: list[Epoch]
    last: Point
    best: Point
    seconds: float

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(0, index=self.index, seconds=self.seconds)
        if not self.history:
            yield "history must have an epoch, but is empty"
            return
        names = set(self.history[0].losses)
        if any(set(epoch.losses) != names for epoch in self.history):
            yield "not every epoch of history has the same losses"


@dataclass(frozen=True, kw_only=True)
class AccuracyRecord(Table):
    """What a bundle's manifest says of its accuracy."""

    top1: float | None = None
    n: int | None = None
    low: float | None = None
    high: float | None = None
    split: str = "test"
    validation: TopOne | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from shares(top1=self.top1, low=self.low, high=self.high)
        yield from at_least(1, n=self.n)
        yield from ends_of_interval(low=self.low, high=self.high)


@dataclass(frozen=True, kw_only=True)
class AgreementRecord(Table):
    """How often a model names the same class as another."""

    top1_agreement: float | None = None
    n: int | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from shares(top1_agreement=self.top1_agreement)
        yield from at_least(1, n=self.n)


@dataclass(frozen=True, kw_only=True)
class ParityRecord(AgreementRecord):
    """What a bundle's manifest says of how it agrees with the original."""

    relative_error: float | None = None
    unlabelled: AgreementRecord | None = None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from super().problems()
        yield from at_least(0, relative_error=self.relative_error)


@dataclass(frozen=True, kw_only=True)
class SchemeRecord(Table):
    """What a bundle's manifest says of how it was quantised."""

    reason: str | None = None
    operators_kept: list[str] | None = None
    excluded: list[str] | None = None


@dataclass(frozen=True, kw_only=True)
class FormatRecord(Table):
    """What a format says of itself in a bundle's manifest."""

    quantization: SchemeRecord = field(default_factory=SchemeRecord)


@dataclass(frozen=True, kw_only=True)
class BundleRecord(Table):
    """The tables of a bundle's manifest that its contract leaves free."""

    accuracy: AccuracyRecord
    parity: ParityRecord
    format_facts: FormatRecord


@dataclass(frozen=True, kw_only=True)
class RetentionRecord(Table):
    """How much of each stage is left after later ones; see `smskd.retention_matrix`."""

    stages: list[str]
    loss: list[list[float | None]]
    top1: list[float | None]

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        for top1 in self.top1:
            yield from shares(top1=top1)
        if {len(self.loss), len(self.top1), *map(len, self.loss)} != {len(self.stages)}:
            yield "must have a row and a column for each stage"


def read_table(path: Path, table: type[Table], what: str, advice: str) -> dict[str, Any]:
    """The content of a JSON file, as it stands there, once it is what it should be.

    Arguments and errors as `foundation.records.read_record`; keys that the table does not know are
    in what is returned, and so stay where it is written again.
    """
    content: dict[str, Any] = read_json(path, advice)
    record_in(content, path, table, what, advice)
    return content


def check_manifest_facts(folder: Path, manifest: BundleManifest) -> None:
    """Make sure that a bundle's manifest says what can be, where its contract leaves it free.

    Args:
        folder: the bundle's.
        manifest: as it was read.

    Raises:
        CorruptFileError: when it does not.
    """
    content = {
        "accuracy": manifest.accuracy,
        "parity": manifest.parity,
        "format_facts": manifest.format_facts,
    }
    advice = "export the bundle again with `compress export`"
    record: type = BundleRecord
    if isinstance(manifest, GraphManifest):
        from pipeline.run_folder.graph_records import GraphBundleRecord  # noqa: PLC0415 - of these

        record = GraphBundleRecord
    record_in(content, folder / MANIFEST, record, "a bundle's manifest", advice)
