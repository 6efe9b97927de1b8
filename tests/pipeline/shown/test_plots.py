"""Plots as a page carries them: data that nothing in it can break out of."""

from __future__ import annotations

import csv
import json
import re
from importlib.resources import files
from urllib.parse import unquote

import pytest

from foundation.files import sha256_of
from pipeline.shown.pages.plots import (
    Axis,
    DataTable,
    Plot,
    PlotSeries,
    cell_words,
    plotting_script,
    script_data,
)

HOSTILE = "</script><!-- <b> & \u2028 \"q\" 'r' \x1b[31m"


def test_no_name_ends_the_script_that_carries_it() -> None:
    text = str(script_data({"name": [HOSTILE], HOSTILE: 1}))
    assert not re.search(r"[<>&\u2028]", text)
    assert json.loads(text)["name"] == ["</script><!-- <b> & \\u2028 \"q\" 'r' \\x1b[31m"]


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        script_data({"x": float("nan")})


def test_csv_has_every_digit_and_no_formula() -> None:
    table = DataTable(
        ["name", "ms"], [["=SUM(A1)", 0.1234567891], ['a,"b"\n<c>', None], ["x", -1.5]]
    )
    rows = list(csv.reader(unquote(str(table.link).partition(",")[2]).splitlines()))
    assert rows == [
        ["name", "ms"], ["'=SUM(A1)", "0.1234567891"], ['a,"b" <c>', ""], ["x", "-1.5"],
    ]  # fmt: skip
    assert not re.search(r"""["'<>\s]""", str(table.link))


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "–"), (0.123456, "0.1235"), (-2.5, "−2.5"), (12345.6, "12,346"), (7, "7"), ("a", "a")],
)
def test_a_cell_shows_four_digits(value: float | str | None, words: str) -> None:
    assert cell_words(value) == words


def test_a_plot_carries_what_is_drawn_and_not_its_table_again() -> None:
    plot = Plot("p", "t", "c", Axis("x"), Axis("y"), [PlotSeries("s", [[1, 2]])], DataTable([], []))
    drawn = plot.as_drawn()
    assert drawn["series"][0]["points"] == [[1, 2]]
    assert not {"table", "caption"} & set(drawn)


def test_the_library_is_the_one_that_its_page_says() -> None:
    folder = files("pipeline.shown.pages").joinpath("echarts")
    told = re.search(r"`([0-9a-f]{64})`", folder.joinpath("SOURCE.md").read_text("utf-8"))
    assert told
    assert sha256_of(folder / "echarts.common.min.js") == told[1]  # type: ignore[operator]
    for name in ("LICENSE", "NOTICE", "LICENSE-d3"):
        assert folder.joinpath(name).is_file()


def test_nothing_in_the_script_ends_its_element() -> None:
    assert not re.search(r"</script|<!--", str(plotting_script()), re.IGNORECASE)
