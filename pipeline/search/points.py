"""What came of a trial: its figures with their intervals. No torch is imported here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from deploy_targets.device.messages import Accuracy
from foundation.files import write_json
from foundation.records import as_dict, read_record
from foundation.sense import at_least, named, sha256
from foundation.statistics import paired_difference
from pipeline.gating.metrics import Figure, drop

FINISHED: Literal["finished"] = "finished"
HOPELESS: Literal["hopeless"] = "hopeless"

_NOTE = "trial.json"


@dataclass(frozen=True)
class FirstStage:
    """How far a student was after its first stage of several.

    Attributes:
        epochs: that the stage took.
        top1: on the validation images, 0..1.
        n: how many these are.
    """

    epochs: int
    top1: float
    n: int


@dataclass(frozen=True)
class StudentCosts:
    """What a student costs, whatever it runs on.

    Attributes:
        parameters: numbers that it learned.
        macs: multiply-accumulates of an image; None where they cannot be counted.
        roofline_ms, operators: of its FP32 graph on the target, for estimates; None where nobody
            asked for one.
    """

    parameters: int
    macs: int | None
    roofline_ms: float | None = None
    operators: int | None = None


@dataclass(frozen=True, kw_only=True)
class TrialPoint:
    """A trial that was trained, exported and measured.

    Attributes:
        trial: its number.
        folder: its run folder, within the search's.
        bundle: the name of its bundle there.
        manifest_sha256: stands for all files of the bundle.
        params: what was drawn for it, by the recipe's key.
        validation: of the bundle, on the validation images.
        teacher: of its teacher, on the same.
        figures: by name, in the units of `pipeline.search.limits.UNITS`; latencies as they are on
            the day and the host of the reference.
        host: where it was measured.
        doubts: why its measurement is suspect.
        format, precision: of the bundle.
        costs: of the student.
        first_stage: None where there was a single one.
    """

    trial: int
    folder: str
    bundle: str
    manifest_sha256: str
    params: dict[str, Any]
    validation: Accuracy
    teacher: Accuracy
    figures: dict[str, Figure]
    host: str
    doubts: list[str] = field(default_factory=list)
    format: str
    precision: str
    costs: StudentCosts
    first_stage: FirstStage | None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(0, trial=self.trial)
        yield from named(folder=self.folder, bundle=self.bundle, host=self.host)
        yield from sha256(manifest_sha256=self.manifest_sha256)

    @property
    def accuracy(self) -> Figure:
        """Percent of the validation images, with Wilson's 95 % interval."""
        worth = self.validation
        return Figure(100 * worth.top1, 100 * worth.low, 100 * worth.high)

    @property
    def accuracy_drop(self) -> Figure:
        """Percentage points below the teacher on the same images, with its 95 % interval."""
        return points_below(self.validation, self.teacher)

    def figure(self, name: str) -> Figure | None:
        """A figure by name, accuracies too; None where it was not measured."""
        if name == "accuracy":
            return self.accuracy
        return self.accuracy_drop if name == "accuracy_drop" else self.figures.get(name)


@dataclass(frozen=True, kw_only=True)
class TrialNote:
    """What a trial's process leaves, the last file that it writes.

    Attributes:
        state: "finished", or "hopeless" where it was stopped early.
        reason: why it was stopped.
        point: None where it was.
    """

    schema_version: int = 1
    kind: str = "search-trial"
    state: Literal["finished", "hopeless"]
    reason: str | None = None
    point: TrialPoint | None = None


def points_below(accuracy: Accuracy, reference: Accuracy) -> Figure:
    """Percentage points of top-1 that one lies below another, image by image where both answered
    the same images; otherwise as of independent samples."""
    same = accuracy.labels_sha256 is not None and accuracy.labels_sha256 == reference.labels_sha256
    if same and accuracy.right is not None and reference.right is not None:
        now, before = int(accuracy.right, 16), int(reference.right, 16)
        lost, won = (before & ~now).bit_count(), (now & ~before).bit_count()
        return Figure(*(100 * share for share in paired_difference(lost, won, accuracy.n)))
    below, above = (Figure(100 * a.top1, 100 * a.low, 100 * a.high) for a in (accuracy, reference))
    return drop(below, above)


def write_note(folder: Path, note: TrialNote) -> None:
    """Leave what came of a trial in its run folder."""
    write_json(folder / _NOTE, as_dict(note))


def read_note(folder: Path) -> TrialNote:
    """What came of a trial.

    Raises:
        MissingFileError: when its process left nothing.
        CorruptFileError: when the file is none of ours.
    """
    advice = "delete it and run the search again"
    return read_record(folder / _NOTE, TrialNote, "what came of a trial", advice)
