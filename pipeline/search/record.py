"""What a search has found so far, as it is kept and printed. No torch is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from foundation.errors import MissingFileError
from foundation.files import write_json, write_text
from foundation.records import as_dict, read_record
from pipeline.gating.metrics import Figure
from pipeline.search.folder import SearchFolder
from pipeline.search.front import PlacedPoint, front_csv, front_of
from pipeline.search.reference import SearchReference, read_reference_of

if TYPE_CHECKING:
    from pipeline.search.storage import KnownTrial

_ADVICE = "run the search again"


@dataclass(frozen=True)
class TrialLeftOut:
    """A trial without a point.

    Attributes:
        trial: its number.
        state: "hopeless" where it was stopped early, "failed", "running" or "waiting".
        reason: why; None of one that is under way.
        params: what was drawn for it, by the recipe's key.
    """

    trial: int
    state: str
    reason: str | None
    params: dict[str, Any]


@dataclass(frozen=True)
class JudgedPick:
    """A picked point, judged on the test images, once.

    Attributes:
        at: when; ISO 8601, UTC.
        asked: what was to be kept.
        trial: its number.
        folder: its run folder.
        bundle: the bundle's folder.
        manifest_sha256: stands for all files of the bundle.
        top1_percent: of the test images, with Wilson's 95 % interval.
        teacher_top1_percent: of its teacher, on the same.
        drop_points: points below the teacher, image by image, with its 95 % interval.
    """

    at: str
    asked: str
    trial: int
    folder: str
    bundle: str
    manifest_sha256: str
    top1_percent: Figure
    teacher_top1_percent: Figure
    drop_points: Figure


@dataclass(frozen=True)
class Picked:
    """The bundle to ship.

    Attributes:
        pick: which, and what the test images say of it.
        reason: why this one, in a sentence.
        qualified: other trials that keep what was asked.
        undecided: trials of which it cannot be told.
        tied: of those that qualified, the ones that are as accurate as far as can be told.
        judged_before: other trials that the test images were asked about before.
    """

    pick: JudgedPick
    reason: str
    qualified: list[int] = field(default_factory=list)
    undecided: list[int] = field(default_factory=list)
    tied: list[int] = field(default_factory=list)
    judged_before: list[int] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SearchRecord:
    """What a search has found so far: the content of front.json, and what `compress search --json`
    prints.

    Attributes:
        search: the search's folder; None in front.json itself.
        objectives: what is held against each other.
        trials: how many were asked for.
        reference: what latencies are counted from; None before anything was measured.
        points: of finished trials, the cheapest first.
        left_out: trials without a point.
        picked: what `--pick` chose; None where nobody asked.
    """

    schema_version: int = 1
    kind: str = "search"
    search: str | None = None
    objectives: list[str]
    trials: int
    reference: SearchReference | None
    points: list[PlacedPoint]
    left_out: list[TrialLeftOut]
    picked: Picked | None = None


def record_of(
    search: SearchFolder, trials: Sequence[KnownTrial], objectives: Sequence[str], asked: int
) -> SearchRecord:
    """What trials came to, each held against all others."""
    points = [trial.point for trial in trials if trial.point is not None]
    return SearchRecord(
        objectives=list(objectives),
        trials=asked,
        reference=read_reference_of(search) if search.reference_path.exists() else None,
        points=front_of(points, objectives),
        left_out=[
            TrialLeftOut(trial.number, trial.state, trial.reason, dict(trial.params))
            for trial in trials
            if trial.point is None
        ],
    )


def write_record(search: SearchFolder, record: SearchRecord) -> None:
    """Keep it in front.json, and its points in front.csv."""
    write_json(search.front_path, as_dict(record))
    write_text(search.table_path, front_csv(record.points))


def read_search_record(search: SearchFolder) -> SearchRecord:
    """What the search in a folder has found so far.

    Raises:
        MissingFileError: when no trial has ended yet.
        CorruptFileError: when front.json is none of ours.
    """
    if not search.front_path.exists():
        raise MissingFileError(f"{search.front_path}: not there yet, for no trial has ended")
    return read_record(search.front_path, SearchRecord, "the front of a search", _ADVICE)
