"""Which one ships: by points that were made by hand, without a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundation.errors import NothingQualifiesError, RunMismatchError
from foundation.files import write_json
from foundation.records import as_dict
from pipeline.gating.metrics import Figure
from pipeline.search.folder import SearchFolder
from pipeline.search.front import front_of
from pipeline.search.limits import parse_limits
from pipeline.search.pick import PicksMade, pick, qualified
from pipeline.search.points import TrialNote, TrialPoint, write_note
from pipeline.search.record import JudgedPick, Picked, SearchRecord

OBJECTIVES = ["accuracy", "latency_p50"]


def record_of(points: list[TrialPoint]) -> SearchRecord:
    return SearchRecord(
        objectives=OBJECTIVES, trials=len(points), reference=None,
        points=front_of(points, OBJECTIVES), left_out=[],
    )  # fmt: skip


@pytest.fixture
def points(point) -> list[TrialPoint]:
    """0 is the most accurate and slow; 1 as accurate as far as can be told, and faster; 2 fast."""
    return [
        point(0, "ffff", (2.0, 1.9, 2.1), size=0.3),
        point(1, "7fff", (1.0, 0.9, 1.1), size=0.2),
        point(2, "00ff", (0.5, 0.45, 0.55), size=0.1),
    ]


@pytest.fixture
def search(points: list[TrialPoint], tmp_path: Path) -> SearchFolder:
    """Their notes on disk, each judged on the test images before."""
    folder = SearchFolder(tmp_path)
    for point in points:
        write_note(tmp_path / point.folder, TrialNote(state="finished", point=point))
    return folder


def judged(search: SearchFolder, *points: TrialPoint) -> None:
    picks = [
        JudgedPick(
            at="2026-01-01T00:00:00+00:00", asked="size<=1MB", trial=point.trial,
            folder=point.folder, bundle=point.bundle, manifest_sha256=point.manifest_sha256,
            top1_percent=Figure(90, 80, 95), teacher_top1_percent=Figure(95, 90, 98),
            drop_points=Figure(5, 1, 9),
        )
        for point in points
    ]  # fmt: skip
    write_json(search.picks_path, as_dict(PicksMade(picks=picks)))


def picked(search: SearchFolder, points: list[TrialPoint], asked: str) -> Picked:
    return pick(search, record_of(points), parse_limits(asked), asked)


def test_the_most_accurate_that_surely_keeps_the_limit_is_picked(points, search) -> None:
    judged(search, points[1])
    chosen = picked(search, points, "latency_p50<=1.5ms")
    assert chosen.pick.trial == 1
    assert chosen.qualified == [2]
    assert chosen.tied == chosen.undecided == chosen.judged_before == []
    assert chosen.reason.startswith(
        "trial 1 is the most accurate of 2 that surely keep latency_p50<=1.5ms: accuracy 93.75 %"
    )
    assert "latency_p50 1 ms (0.9 to 1.1)" in chosen.reason


def test_what_an_interval_leaves_open_is_neither_picked_nor_hidden(points, search) -> None:
    """Of 2.0 (1.9 to 2.1) nobody can say whether it keeps 2.05."""
    judged(search, points[1])
    chosen = picked(search, points, "latency_p50<=2.05ms")
    assert (chosen.pick.trial, chosen.undecided) == (1, [0])


def test_what_is_as_accurate_as_far_as_can_be_told_is_named_with_what_speaks_for_it(
    points, search
) -> None:
    judged(search, points[0])
    chosen = picked(search, points, "size<=1MB")
    assert (chosen.pick.trial, chosen.qualified, chosen.tied) == (0, [1, 2], [1])
    assert "trial 1 is as accurate as far as can be told, and better: latency_p50 1 ms" in (
        chosen.reason
    )


def test_of_equal_accuracy_the_faster_is_picked(point, tmp_path: Path) -> None:
    points = [point(4, "7fff", (1.0, 0.9, 1.1)), point(5, "7fff", (0.8, 0.7, 0.9))]
    found = qualified(record_of(points).points, parse_limits("size<=1MB"))
    assert [one.trial for one in found.kept] == [5, 4]


def test_all_limits_must_hold(points) -> None:
    found = qualified(record_of(points).points, parse_limits("latency_p50<=1.5ms and size<=0.15MB"))
    assert [one.trial for one in found.kept] == [2]


def test_the_test_images_are_asked_once_and_a_second_pick_tells_of_the_first(
    points, search
) -> None:
    judged(search, points[0], points[1])
    chosen = picked(search, points, "latency_p50<=1.5ms")
    assert chosen.pick.at == "2026-01-01T00:00:00+00:00"
    assert chosen.judged_before == [0]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            "latency_p50<=0.4ms",
            "no trial keeps latency_p50<=0.4ms; the nearest is trial 2: latency_p50 0.5 ms",
        ),
        ("latency_p50<=0.5ms", "no trial surely keeps latency_p50<=0.5ms; of 1 it cannot be told"),
        ("accuracy>=99.9", "no trial surely keeps accuracy>=99.9; of 1 it cannot be told, such"),
        ("energy<=1J", "no trial surely keeps energy<=1J; of 3 it cannot be told"),
    ],
)
def test_where_nothing_qualifies_the_nearest_is_named(points, search, asked, words) -> None:
    with pytest.raises(NothingQualifiesError) as refused:
        picked(search, points, asked)
    assert str(refused.value).startswith(words)
    assert refused.value.exit_code == 25


def test_a_trial_that_was_done_again_since_is_not_shipped_by_its_old_figures(
    points, search, point
) -> None:
    other = point(1, "7fff", (1.0, 0.9, 1.1), manifest_sha256="f" * 64)
    write_note(search.path / "trials/0001", TrialNote(state="finished", point=other))
    with pytest.raises(RunMismatchError, match="was done again since the front was written"):
        picked(search, points, "size<=1MB")
