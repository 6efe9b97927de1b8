"""Plots that a page draws in the browser: what they show, as plain records.

A page carries them as JSON; `plots.js`, over Apache ECharts, draws them. Each has its data as a
table too, which needs no script.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

from markupsafe import Markup

from foundation.words import one_line

Value: TypeAlias = float | int | str | None

_SCRIPT = "echarts/echarts.common.min.js"


@dataclass(frozen=True)
class DataTable:
    """The data of a plot, a row a point or so.

    Attributes:
        heads: of the columns.
        rows: as long as `heads`; None where there is no value.
    """

    heads: list[str]
    rows: list[list[Value]]

    @property
    def cells(self) -> list[list[str]]:
        """The rows as words: figures to four digits."""
        return [[cell_words(value) for value in row] for row in self.rows]

    @property
    def csv(self) -> str:
        """The rows as CSV, every digit of them; a line that a spreadsheet would take for a formula
        begins with an apostrophe."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(map(_plain, self.heads))
        writer.writerows([_plain(value) for value in row] for row in self.rows)
        return text.getvalue()

    @property
    def link(self) -> Markup:
        """The CSV as a data: URL."""
        return Markup(f"data:text/csv;charset=utf-8,{quote(self.csv)}")


@dataclass(frozen=True)
class Axis:
    """An axis of a plot.

    Attributes:
        name: with its unit.
        log: whether it begins logarithmic.
        offers_log: whether a reader may choose.
        categories: names of its places; None where it is of numbers.
        low, high: where it begins and ends; None leaves that to the data.
    """

    name: str
    log: bool = False
    offers_log: bool = False
    categories: list[str] | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class PlotSeries:
    """What has one entry in a plot's legend.

    Attributes:
        name: in the legend; several of one name are hidden together.
        points: x and y of each, in order; of an axis of categories the place from 0 on. None
            breaks a line.
        kind: how they are drawn.
        dashed: whether a line is.
        stack: bars of one stack stand on each other.
        is_base: bars that others stand on, not seen and not in the legend.
        colour: "good", "bad" or "quiet"; None takes the next of the palette.
        step: whether a line goes in steps.
        labels: a word for each point, shown beside its values.
    """

    name: str
    points: Sequence[Sequence[Value]]
    kind: Literal["line", "scatter", "bar"] = "line"
    dashed: bool = False
    stack: str | None = None
    is_base: bool = False
    colour: Literal["good", "bad", "quiet"] | None = None
    step: bool = False
    labels: Sequence[str] | None = None


@dataclass(frozen=True)
class Mark:
    """A line across a plot, upright at an x or lying at a y, with a word at its end."""

    label: str
    x: float | None = None
    y: float | None = None


@dataclass(frozen=True)
class Plot:
    """A plot with its data.

    Attributes:
        id: within the page: letters, digits and dashes.
        title: what it shows, in a few words.
        caption: what to look for, and what it rests on.
        table: the data.
        height: in pixels.
    """

    id: str
    title: str
    caption: str
    x: Axis
    y: Axis
    series: list[PlotSeries]
    table: DataTable
    marks: list[Mark] = field(default_factory=list)
    height: int = 320

    def as_drawn(self) -> dict[str, Any]:
        """What the script needs of it, as JSON values."""
        content = asdict(self)
        del content["table"], content["caption"]
        return content


def cell_words(value: Value) -> str:
    """A value of a table: a dash for none, figures to four digits."""
    if value is None:
        return "–"
    if isinstance(value, float):
        words = f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
        return words.replace("-", "−", 1) if words.startswith("-") else words
    return str(value)


def script_data(content: object) -> Markup:
    """JSON that can stand in a page's `<script>`: no name in it can end the element."""
    text = json.dumps(_shown(content), allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


@cache
def plotting_script() -> Markup:
    """Apache ECharts and the script over it, to be put into a page once."""
    here = files("pipeline.shown.pages")
    notice = (
        "/* Apache ECharts, Apache License 2.0; zrender, BSD 3-Clause; see docs/decisions.md */"
    )
    parts = [notice, *(here.joinpath(name).read_text("utf-8") for name in (_SCRIPT, "plots.js"))]
    return Markup("\n".join(parts))


def _plain(value: Value) -> Value:
    if not isinstance(value, str):
        return value
    words = one_line(value)
    return f"'{words}" if words[:1] in ("=", "+", "-", "@") else words


def _shown(content: Any) -> Any:
    """JSON values, their texts fit to be shown."""
    if isinstance(content, str):
        return one_line(content)
    if isinstance(content, dict):
        return {key: _shown(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_shown(value) for value in content]
    return content
