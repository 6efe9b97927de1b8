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

from foundation.errors import CorruptFileError
from foundation.files import read_json

SCHEMA_VERSION = 1

_LONGEST_VALUE = 40


class Kept(BaseModel):
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


class StepKept(Kept):
    """A step that was done; see `pipeline.runs.Step`."""

    depends_on: dict[str, Any]
    products: dict[Inside, Digest]
    remarks: list[str] = []


class Worth(Kept):
    """Accuracy of a network on some images."""

    top1: Share
    n: PositiveInt


class Cost(Kept):
    """What a network costs."""

    parameters: NonNegativeInt
    macs: NonNegativeInt | None = None


class Pruned(Kept):
    """What one pruning left."""

    before_stage: PositiveInt
    before: Cost
    after: Cost


class NetworkKept(Cost):
    """What a network is, and how well it does."""

    model: str
    validation: Worth
    test: Worth
    pruned: list[Pruned] = []


class RunKept(Kept):
    """The content of run.json."""

    schema_version: Literal[1]
    name: str
    seed: NonNegativeInt
    created_at: str
    commit: str | None
    python: str
    platform: str
    versions: dict[str, str | None]
    steps: dict[str, StepKept]
    networks: dict[Literal["teacher", "student"], NetworkKept] = {}
    adopted: str | None = None


class Point(Kept):
    """An epoch of a stage, and its accuracy on the validation images."""

    epoch: NonNegativeInt
    val_top1: Share | None


class Epoch(Point):
    """What an epoch came to."""

    losses: dict[str, float]
    seconds: NonNegativeFloat


class StageAsked(Kept):
    """What a stage was asked for, as far as a report tells of it."""

    keep: str = "last"
    quantize: str = "none"
    weighting: str = ""


class TrainingKept(Kept):
    """The content of a metrics.json: of a stage, or of the teacher's training."""

    name: str
    index: NonNegativeInt
    stage: StageAsked
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


def read_kept(path: Path, table: type[Kept], what: str, advice: str) -> dict[str, Any]:
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
    raw = read_json(path)
    try:
        table.model_validate(raw)
    except ValidationError as error:
        raise CorruptFileError(f"{path}: not {what} ({_problem(error)}); {advice}") from error
    content: dict[str, Any] = raw
    return content


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
