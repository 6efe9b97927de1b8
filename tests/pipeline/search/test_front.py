"""Which points are on the front, off it or tied, by figures that were worked out by hand."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest

from foundation.records import as_dict, build
from pipeline.gating.metrics import Figure
from pipeline.search.front import PlacedPoint, front_csv, front_of, lead
from pipeline.search.points import TrialPoint, points_below

OBJECTIVES = ("accuracy", "latency_p50")


def by_trial(points: list[TrialPoint], objectives=OBJECTIVES) -> dict[int, PlacedPoint]:
    return {one.trial: one for one in front_of(points, objectives)}


def test_a_drop_is_counted_on_the_same_images(point) -> None:
    """8 of 16 lost and none won: Bonett and Price's interval, by hand.

    (8+1)/18 = 0.5 and (0+1)/18 = 0.0556, so the middle is 44.44 points, and the half
    1.96 · √((0.5556 − 0.4444²) / 18) = 27.65 points.
    """
    worse, better = point(1, "00ff", (1, 1, 1)), point(2, "ffff", (1, 1, 1))
    drop = points_below(worse.validation, better.validation)
    assert drop.value == 50.0
    assert drop.low == pytest.approx(44.444 - 27.647, abs=0.01)
    assert drop.high == pytest.approx(44.444 + 27.647, abs=0.01)
    assert lead(better, worse, "accuracy").is_sure
    assert lead(worse, better, "accuracy").trails


def test_one_image_of_sixteen_is_no_sure_difference(point) -> None:
    one, all_right = point(1, "7fff", (1, 1, 1)), point(2, "ffff", (1, 1, 1))
    assert not lead(all_right, one, "accuracy").is_sure
    assert not lead(all_right, one, "accuracy").trails


def test_latencies_differ_surely_where_the_interval_of_the_difference_says_so(point) -> None:
    """1.5 − 1.0 = 0.5, less √(0.1² + 0.1²) = 0.141, is above 0; 1.1 − 1.0 less that is not."""
    fast, near, slow = (
        point(number, "ffff", (ms, ms - 0.1, ms + 0.1)) for number, ms in enumerate((1, 1.1, 1.5))
    )
    assert lead(fast, slow, "latency_p50").interval.low == pytest.approx(0.3586, abs=1e-4)
    assert lead(fast, slow, "latency_p50").is_sure
    assert not lead(fast, near, "latency_p50").is_sure
    assert lead(slow, fast, "latency_p50").trails


def test_each_point_stands_where_it_was_worked_out_to_stand(point) -> None:
    """0 has all right and is slow; 1 misses one and is twice as fast; 2 misses half and is faster
    still; 3 misses what 1 misses and is slower."""
    placed = by_trial(
        [
            point(0, "ffff", (2.0, 1.9, 2.1)),
            point(1, "7fff", (1.0, 0.9, 1.1)),
            point(2, "00ff", (0.5, 0.45, 0.55)),
            point(3, "7fff", (1.5, 1.4, 1.6)),
        ]
    )
    assert {number: one.status for number, one in placed.items()} == {
        0: "tied", 1: "on the front", 2: "on the front", 3: "off it",
    }  # fmt: skip
    assert placed[3].beaten_by == [1]
    # Its one image more is not sure, and it is surely slower.
    assert placed[0].tied_with == [1, 3]
    assert placed[1].tied_with == placed[3].tied_with == []


def test_twins_are_tied_with_each_other(point) -> None:
    placed = by_trial([point(0, "7fff", (1.0, 0.9, 1.1)), point(1, "7fff", (1.02, 0.9, 1.15))])
    assert [(one.status, one.tied_with) for one in placed.values()] == [
        ("tied", [1]), ("tied", [0]),
    ]  # fmt: skip


def test_a_size_is_exact_so_any_difference_is_sure(point) -> None:
    points = [point(0, "ffff", (1, 0.5, 2), size=0.2), point(1, "ffff", (1, 0.5, 2), size=0.1)]
    placed = by_trial(points, ("accuracy", "size"))
    assert (placed[0].status, placed[0].beaten_by) == ("off it", [1])
    assert placed[1].status == "on the front"


def test_a_point_alone_is_the_front(point) -> None:
    (only,) = front_of([point(0, "0000", (1, 1, 1))], OBJECTIVES)
    assert only.status == "on the front"
    assert front_of([], OBJECTIVES) == []


def test_the_cheapest_comes_first_and_the_table_has_every_figure_with_its_ends(point) -> None:
    points = front_of(
        [point(0, "ffff", (2.0, 1.9, 2.1)), point(1, "7fff", (1.0, 0.9, 1.1))], OBJECTIVES
    )
    rows = list(csv.DictReader(front_csv(points).splitlines()))
    assert [row["trial"] for row in rows] == ["1", "0"]
    assert (rows[1]["latency_p50"], rows[1]["latency_p50_low"]) == ("2", "1.9")
    assert rows[0]["accuracy"] == "93.75"
    assert rows[0]["accuracy_drop"] == "6.25"
    assert rows[0]["student.model"] == "resnet8"


def test_a_point_can_be_kept_and_read_again(point) -> None:
    made = point(3, "7fff", (1.5, 1.4, 1.6))
    assert build(TrialPoint, as_dict(made)) == made


def test_by_a_metric_higher_is_better(point) -> None:
    """Top-1 is the same; 0.9 less 0.7 is 0.2, and √(0.05² + 0.05²) = 0.07 is less than that."""
    points = [
        replace(one, figures={**one.figures, "metric": Figure(value, value - 0.05, value + 0.05)})
        for one, value in ((point(0, "ffff", (1, 1, 1)), 0.9), (point(1, "ffff", (1, 1, 1)), 0.7))
    ]
    assert lead(points[0], points[1], "metric").is_sure
    placed = by_trial(points, ("metric", "latency_p50"))
    assert (placed[0].status, placed[1].status) == ("on the front", "off it")
