"""Still plots: SVG text that stands in a page itself, and PNG files beside a summary."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from foundation.words import one_line

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a929e",
    "axes.grid": True,
    "grid.color": "#e3e6ea",
    "axes.axisbelow": True,
    "svg.fonttype": "none",
}


def as_drawn(name: str) -> str:
    """A name as a plot shows it, letter for letter: two dollar signs make no formula of it."""
    return one_line(name).replace("$", r"\$")


def draw_axes(draw: Callable[[Axes], None], salt: str, width: float, height: float) -> str:
    """One plot; see `draw_figure`."""
    return draw_figure(lambda figure: draw(figure.subplots()), salt, width, height)


def draw_figure(draw: Callable[[Figure], None], salt: str, width: float, height: float) -> str:
    """A figure as SVG text, the same for the same content.

    Args:
        draw: fills the figure.
        salt: makes the SVG's ids unlike those of other figures in the page.
        width, height: in inches.
    """
    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    # The page is HTML: the XML prologue, which names a DTD on the web, is not wanted there.
    return svg[svg.index("<svg") :]


@dataclass(frozen=True)
class StillPlot:
    """A plot that is yet to be drawn.

    Attributes:
        draw: fills a figure.
        width, height: in inches.
    """

    draw: Callable[[Figure], None]
    width: float
    height: float

    def svg(self, salt: str) -> str:
        """As SVG text; see `draw_figure`."""
        return draw_figure(self.draw, salt, self.width, self.height)

    def png(self, mark: str) -> bytes:
        """As a PNG file's content, in which `mark` stands as its "Source"."""
        with mpl.rc_context(_STYLE):
            figure = Figure(figsize=(self.width, self.height), layout="constrained")
            self.draw(figure)
            content = io.BytesIO()
            facts = {"Source": mark, "Software": None}
            figure.savefig(content, format="png", dpi=120, metadata=facts)
        return content.getvalue()
