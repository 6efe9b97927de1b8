"""What a run folder's own JSON files must look like: nothing in a file is believed unread.

Only what is relied on is described; keys beside those are another version's, and passed over.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from foundation.bundle import MANIFEST, Manifest
from foundation.errors import CorruptFileError
from foundation.files import read_json

SCHEMA_VERSION = 1

_LONGEST_VALUE = 40


class Table(BaseModel):
    """A table of a JSON file: types are strict, no number is infinite, further keys may be."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, frozen=True)


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError("must be a path within the run folder")
    return name


Share = Annotated[float, Field(ge=0, le=1)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Inside = Annotated[str, AfterValidator(_inside)]


class StepRecord(Table):
    """A step that was done; see `pipeline.run_folder.folder.Step`."""

    depends_on: dict[str, Any]
    products: dict[Inside, Digest]
    remarks: list[str] = []


class Worth(Table):
    """Accuracy of a network on some images."""

    top1: Share
    n: PositiveInt


class Cost(Table):
    """What a network costs."""

    parameters: NonNegativeInt
    macs: NonNegativeInt | None = None


class Pruned(Table):
    """What one pruning left."""

    before_stage: PositiveInt
    before: Cost
    after: Cost


class NetworkRecord(Cost):
    """What a network is, and how well it does."""

    model: str
    validation: Worth
    test: Worth
    pruned: list[Pruned] = []


class RunRecord(Table):
    """The content of run.json."""

    schema_version: Literal[1]
    name: str
    seed: NonNegativeInt
    created_at: str
    commit: str | None
    python: str
    platform: str
    versions: dict[str, str | None]
    steps: dict[str, StepRecord]
    networks: dict[Literal["teacher", "student"], NetworkRecord] = {}
    adopted: str | None = None


class Point(Table):
    """An epoch of a stage, and its accuracy on the validation images."""

    epoch: NonNegativeInt
    val_top1: Share | None


class Epoch(Point):
    """What an epoch came to."""

    losses: dict[str, float]
    seconds: NonNegativeFloat


class StageRecord(Table):
    """What a stage was asked for, as far as a report tells of it."""

    keep: str = "last"
    quantize: str = "none"
    weighting: str = ""


class TrainingRecord(Table):
    """The content of a metrics.json: of a stage, or of the teacher's training."""

    name: str
    index: NonNegativeInt
    stage: StageRecord
    history: Annotated[list[Epoch], Field(min_length=1)]
    last: Point
    best: Point
    seconds: NonNegativeFloat

    @model_validator(mode="after")
    def _losses_are_alike(self) -> Self:
        names = set(self.history[0].losses)
        if any(set(epoch.losses) != names for epoch in self.history):
            raise ValueError("not every epoch has the same losses")
        return self


class AccuracyRecord(Table):
    """What a bundle's manifest says of its accuracy."""

    top1: Share | None = None
    n: PositiveInt | None = None
    low: Share | None = None
    high: Share | None = None
    split: str = "test"
    validation: Worth | None = None

    @model_validator(mode="after")
    def _interval_is_one(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise ValueError("must have both low and high, or neither")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("low must not lie above high")
        return self


class ParityRecord(Table):
    """What a bundle's manifest says of how it agrees with the original."""

    relative_error: NonNegativeFloat | None = None
    top1_agreement: Share | None = None
    n: PositiveInt | None = None


class SchemeRecord(Table):
    """What a bundle's manifest says of how it was quantised."""

    reason: str | None = None
    operators_kept: list[str] | None = None
    excluded: list[str] | None = None


class FormatRecord(Table):
    """What a format says of itself in a bundle's manifest."""

    quantization: SchemeRecord = SchemeRecord()


class BundleRecord(Table):
    """The tables of a bundle's manifest that its contract leaves free."""

    accuracy: AccuracyRecord
    parity: ParityRecord
    format_facts: FormatRecord


class RetentionRecord(Table):
    """How much of each stage is left after later ones; see `smskd.retention_matrix`."""

    stages: list[str]
    loss: list[list[float | None]]
    top1: list[Share | None]

    @model_validator(mode="after")
    def _is_square(self) -> Self:
        size = len(self.stages)
        if {len(self.loss), len(self.top1), *map(len, self.loss)} != {size}:
            raise ValueError("must have a row and a column for each stage")
        return self


class ArmRecord(Table):
    """The content of an arm's result.json; see `pipeline.study.folder.ArmResult`."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1]
    fingerprint: str
    arm: str
    seed: NonNegativeInt
    validation_top1: Share
    test_top1: Share
    history: Annotated[list[Epoch], Field(min_length=1)]
    after_stage: list[Share]
    seconds_per_epoch: Annotated[float, Field(gt=0)]
    retention: RetentionRecord | None


def read_table(path: Path, table: type[Table], what: str, advice: str) -> dict[str, Any]:
    """The content of a JSON file, as it stands there, once it is what it should be.

    Args:
        path: the file.
        table: what must be in it.
        what: the file in words: "the record of a run".
        advice: what to do where it is not that.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is anything else.
    """
    content: dict[str, Any] = read_json(path, advice)
    check_table(path, content, table, what, advice)
    return content


def check_table(path: Path, content: object, table: type[Table], what: str, advice: str) -> None:
    """Make sure that what was read from a file is what it should be; errors as `read_table`."""
    try:
        table.model_validate(content)
    except ValidationError as error:
        raise CorruptFileError(f"{path}: not {what} ({_problem(error)}); {advice}") from error


def check_manifest_facts(folder: Path, manifest: Manifest) -> None:
    """Make sure that a bundle's manifest says what can be, where its contract leaves it free.

    Args:
        folder: the bundle's.
        manifest: as it was read.

    Raises:
        CorruptFileError: when it does not.
    """
    content = {key: getattr(manifest, key) for key in BundleRecord.model_fields}
    advice = "export the bundle again with `compress export`"
    check_table(folder / MANIFEST, content, BundleRecord, "a bundle's manifest", advice)


def _problem(error: ValidationError) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    words = first["msg"].removeprefix("Value error, ")
    words = f"{words[0].lower()}{words[1:]}"
    value = first["input"]
    if first["type"] == "missing":
        return f"missing key {place!r}"
    shown = "" if isinstance(value, dict | list) else f", but got {_shortened(value)}"
    return f"key {place!r}: {words}{shown}" if place else f"{words}{shown}"


def _shortened(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        return "a number too long to show"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
