"""The one to ship: the most accurate of those that surely keep what was asked.

Until then accuracies are those of the validation images. What is picked is judged on the test
images, once, and that is kept: whoever looks at them for several, and chooses by them, has a figure
that is too good, so a second pick tells what was judged before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from deploy_targets.device.messages import Accuracy
from foundation.bundle import open_bundle
from foundation.errors import CorruptFileError, NothingQualifiesError, RunMismatchError
from foundation.files import write_json
from foundation.records import as_dict, read_record
from pipeline.gating.metrics import Figure
from pipeline.run_folder.folder import RunFolder
from pipeline.search.folder import SearchFolder
from pipeline.search.front import PlacedPoint, lead
from pipeline.search.limits import PointLimit
from pipeline.search.points import TrialPoint, points_below, read_note
from pipeline.search.record import JudgedPick, Picked, SearchRecord
from pipeline.search.words import words_of


@dataclass(frozen=True, kw_only=True)
class PicksMade:
    """The content of picks.json: what the test images were asked about."""

    schema_version: int = 1
    kind: str = "search-picks"
    picks: list[JudgedPick] = field(default_factory=list)


@dataclass(frozen=True)
class Qualified:
    """Points by whether they keep all that was asked.

    Attributes:
        kept: surely, the most accurate first.
        undecided: not surely.
    """

    kept: list[PlacedPoint]
    undecided: list[PlacedPoint]


def pick(
    search: SearchFolder, record: SearchRecord, limits: Sequence[PointLimit], asked: str
) -> Picked:
    """Choose the one to ship, and judge it on the test images.

    Raises:
        NothingQualifiesError: when none surely keeps all limits; with the nearest.
        CorruptFileError: when the bundle was changed since it was measured.
    """
    sorted_out = qualified(record.points, limits)
    if not sorted_out.kept:
        raise _nothing(record.points, sorted_out, limits, asked)
    chosen, *others = sorted_out.kept
    tied = list(_tied(search, chosen, others))
    with search.alone("picks"):
        made = _picks_made(search)
        judged = _judged(search, chosen, made, asked)
    before = {one.trial for one in made.picks if one.trial != chosen.trial}
    return Picked(
        pick=judged,
        reason=_reason(chosen, len(sorted_out.kept), asked, tied),
        qualified=[point.trial for point in others],
        undecided=[point.trial for point in sorted_out.undecided],
        tied=[point.trial for point, _ in tied],
        judged_before=sorted(before),
    )


def qualified(points: Sequence[PlacedPoint], limits: Sequence[PointLimit]) -> Qualified:
    """Which points keep all limits, surely or perhaps."""
    kept, undecided = [], []
    for point in points:
        answers = {limit.holds(point.figures.get(limit.figure)) for limit in limits}
        if answers == {"kept"}:
            kept.append(point)
        elif "broken" not in answers:
            undecided.append(point)
    return Qualified(sorted(kept, key=_worth), sorted(undecided, key=_worth))


def _worth(point: PlacedPoint) -> tuple[float, float, float, int]:
    """The most accurate first, or best by the metric where it is searched by; then the fastest, the
    smallest, the earliest."""
    gain = point.figures.get("metric", point.figures["accuracy"])
    costs = [point.figures.get(name) for name in ("latency_p50", "size")]
    latency, size = (float("inf") if one is None else one.value for one in costs)
    return -gain.value, latency, size, point.trial


def _tied(
    search: SearchFolder, chosen: PlacedPoint, others: Sequence[PlacedPoint]
) -> Iterator[tuple[PlacedPoint, str | None]]:
    """Those that are as accurate as far as can be told; with what speaks for one of them."""
    own = _point(search, chosen)
    for other in others:
        point = _point(search, other)
        gain = "metric" if "metric" in own.figures else "accuracy"
        if gain not in ("accuracy", *point.figures) or lead(own, point, gain).is_sure:
            continue
        better = [
            name
            for name in ("latency_p50", "size")
            if name in own.figures and name in point.figures and lead(point, own, name).is_sure
        ]
        yield other, words_of(other, better) if better else None


def _point(search: SearchFolder, point: PlacedPoint) -> TrialPoint:
    note = read_note(search.path / point.folder)
    if note.point is None or note.point.manifest_sha256 != point.manifest_sha256:
        raise RunMismatchError(
            f"{search.path / point.folder}: the trial was done again since the front was written; "
            "run the search again to write it anew"
        )
    return note.point


def _reason(
    chosen: PlacedPoint,
    qualified_points: int,
    asked: str,
    tied: Sequence[tuple[PlacedPoint, str | None]],
) -> str:
    figures = words_of(chosen, ["accuracy", "latency_p50", "latency_p95", "size"])
    among = (
        f"the most accurate of {qualified_points} that surely keep"
        if qualified_points > 1
        else "the only one that surely keeps"
    )
    words = f"trial {chosen.trial} is {among} {asked}: {figures}"
    for point, better in tied:
        if better:
            words += (
                f"; trial {point.trial} is as accurate as far as can be told, and better: {better}"
            )
    return words


def _judged(search: SearchFolder, chosen: PlacedPoint, made: PicksMade, asked: str) -> JudgedPick:
    """What the test images say of a point, as it was judged before or is now."""
    for earlier in made.picks:
        if (earlier.trial, earlier.manifest_sha256) == (chosen.trial, chosen.manifest_sha256):
            return earlier
    run = RunFolder(search.path / chosen.folder)
    bundle = open_bundle(run.bundles / chosen.bundle)
    if bundle.manifest_sha256 != chosen.manifest_sha256:
        raise CorruptFileError(
            f"{bundle.folder}: not the bundle that was measured; put it back, or delete "
            f"{run.path} and run the search again"
        )
    own, teachers = _test_answers(run, chosen.bundle)
    judged = JudgedPick(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        asked=asked,
        trial=chosen.trial,
        folder=str(run.path),
        bundle=str(bundle.folder),
        manifest_sha256=chosen.manifest_sha256,
        top1_percent=_percent(own),
        teacher_top1_percent=_percent(teachers),
        drop_points=points_below(own, teachers),
    )
    write_json(search.picks_path, as_dict(PicksMade(picks=[*made.picks, judged])))
    return judged


def _test_answers(run: RunFolder, bundle: str) -> tuple[Accuracy, Accuracy]:
    """Which test images a bundle and its teacher name rightly."""
    # Here alone: it imports torch.
    from pipeline.data.facts import TEST  # noqa: PLC0415
    from pipeline.search.sharing import answers_of_bundle, answers_of_teacher  # noqa: PLC0415

    folder = open_bundle(run.bundles / bundle)
    return answers_of_bundle(run, folder, TEST), answers_of_teacher(run, TEST)


def _picks_made(search: SearchFolder) -> PicksMade:
    if not search.picks_path.exists():
        return PicksMade()
    advice = "put it back as it was: it tells what the test images were asked about"
    return read_record(search.picks_path, PicksMade, "the picks of a search", advice)


def _percent(accuracy: Accuracy) -> Figure:
    return Figure(100 * accuracy.top1, 100 * accuracy.low, 100 * accuracy.high)


def _nothing(
    points: Sequence[PlacedPoint],
    sorted_out: Qualified,
    limits: Sequence[PointLimit],
    asked: str,
) -> NothingQualifiesError:
    names = list(dict.fromkeys(limit.figure for limit in limits))
    if sorted_out.undecided:
        best = sorted_out.undecided[0]
        count = len(sorted_out.undecided)
        return NothingQualifiesError(
            f"no trial surely keeps {asked}; of {count} it cannot be told, such as trial "
            f"{best.trial}: {words_of(best, names) or 'not measured'}; measure longer "
            "(bench.rounds), with more validation images, or ask for less"
        )
    (limit, *_) = limits
    measured = [point for point in points if limit.figure in point.figures]
    sign = -1 if limit.sign in (">", ">=") else 1
    nearest = min(measured, key=lambda p: sign * p.figures[limit.figure].value, default=None)
    hint = f"; the nearest is trial {nearest.trial}: {words_of(nearest, names)}" if nearest else ""
    return NothingQualifiesError(f"no trial keeps {asked}{hint}; ask for less, or search on")
