"""Which points are on the front, off it or tied."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.gating.metrics import Figure
from pipeline.report.front import FrontPoint, front_data, front_table, placed
from pipeline.report.write import write_points


def point(name: str, top1: float, ms: float, *, within: float = 0.5, **more) -> FrontPoint:
    accuracy, latency = Figure(top1, top1 - within, top1 + within), Figure(ms, 0.9 * ms, 1.1 * ms)
    return FrontPoint(name, accuracy, latency, size=10.0, group="g", **more)


def test_a_point_is_on_the_front_where_none_is_better_in_both() -> None:
    points = placed([point("fast", 90, 1), point("right", 99, 9), point("bad", 89, 5)])
    assert [one.place for one in points] == ["on", "on", "off"]


def test_a_point_that_is_worse_by_less_than_the_intervals_is_tied() -> None:
    first, near, slower = placed([point("a", 90, 1.0), point("b", 89.8, 1.05), point("c", 89.8, 3)])
    assert (first.place, near.place, slower.place) == ("on", "tied", "off")


def test_equal_points_are_both_on_it() -> None:
    assert {one.place for one in placed([point("a", 90, 1), point("b", 90, 1)])} == {"on"}


def test_a_point_that_was_not_measured_is_off_it_and_takes_nobodys_place() -> None:
    points = placed([FrontPoint("none", Figure(99, 99, 99)), point("a", 90, 1)])
    assert [one.place for one in points] == ["off", "on"]


def test_only_known_measures_are_offered_and_the_table_has_every_digit() -> None:
    points = placed([point("a", 90.123456, 1.0, note="<b>", suspect=True)])
    data = front_data(points)
    assert list(data["measures"]) == ["accuracy", "latency", "size"]
    assert data["points"][0]["values"]["accuracy"] == (90.123456, 89.623456, 90.623456)
    (row,) = front_table(points).rows
    assert row[:2] == ["a", "on"]
    assert 90.123456 in row
    assert row[-2:] == ["suspect", "<b>"]


def test_a_page_of_points_says_which_to_ship_and_what_speaks_against_it(tmp_path: Path) -> None:
    points = placed(
        [point("a<b>", 90, 1.0, ships=True, suspect=True, note="busy"), point("c", 80, 2)]
    )
    text = write_points(tmp_path / "p.html", "a & b", points, ["6× faster <i>"]).read_text()
    first_screen = text[: text.index("<h2>")]
    for words in (
        "Ship a&lt;b&gt;",
        "1.000 ms",
        "90.00 %",
        "is suspect: busy",
        "6× faster &lt;i&gt;",
    ):
        assert words in first_screen


def test_the_docs_show_how_points_of_ones_own_become_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = Path(__file__).parents[3] / "docs/report.md"
    (code,) = re.findall(r"```python\n(.*?)```", docs.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(docs), "exec"), {})
    assert "Ship narrow" in (tmp_path / "front.html").read_text()
