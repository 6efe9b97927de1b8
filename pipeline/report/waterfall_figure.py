"""The waterfall as a still picture: accuracy above, size and latency beneath, a column a step."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.report.figures import COLOURS, OTHER_COLOUR
from pipeline.report.waterfall import WaterfallStep, is_marked
from pipeline.shown.pages.drawing import StillPlot, as_drawn

_UP, _DOWN, _INK, _GUIDE = "#2f8f5b", "#b3261e", "#1f2733", "#b6bcc6"
_TORCH = "#8fb3d9"
_TEST = "*"
_COLUMN_INCHES, _NARROWEST = 0.64, 7.4
_HALF = 0.34


def waterfall(steps: Sequence[WaterfallStep], shipped: str | None) -> StillPlot | None:
    """The steps from left to right, those of the shipped bundle in bold.

    Args:
        steps: in order; each comes after its source.
        shipped: the bundle's name.

    Returns:
        None when no step has an accuracy.
    """
    if all(step.reached is None for step in steps):
        return None
    timed = any(step.latency_ms is not None for step in steps)

    def draw(figure: Figure) -> None:
        heights = [2.6, 1.0, 1.0] if timed else [2.6, 1.0]
        panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        _draw_accuracy(panels[0], steps)
        sizes = [step.size_bytes for step in steps]
        scale, unit = (1e6, "MB") if max(filter(None, sizes), default=0) >= 1e6 else (1e3, "kB")
        _draw_bars(panels[1], steps, [size and size / scale for size in sizes], f"size, {unit}")
        if timed:
            _draw_bars(panels[2], steps, [step.latency_ms for step in steps], "p50, ms")
        _name_columns(panels[-1], steps, shipped)

    width = max(_NARROWEST, 0.9 + _COLUMN_INCHES * len(steps))
    return StillPlot(draw, width, height=5.4 if timed else 4.3)


def _draw_accuracy(axes: Axes, steps: Sequence[WaterfallStep]) -> None:
    places = {id(step): place for place, step in enumerate(steps)}
    shown = [level for step in steps for level in (step.reached, step.before) if level is not None]
    for place, step in enumerate(steps):
        if step.reached is None:
            continue
        if step.before is not None and step.change:
            colour = _UP if step.change > 0 else _DOWN
            axes.bar(place, step.change, bottom=step.before, color=colour, width=0.42, alpha=0.8)
        if step.before is not None:
            axes.hlines(
                step.before, places[id(step.source)], place + _HALF, _GUIDE, linewidth=0.8, zorder=1
            )
        axes.hlines(step.reached, place - _HALF, place + _HALF, _INK, linewidth=2.2, zorder=3)
        mark = _TEST if is_marked(step, steps) else ""
        lost = step.change is not None and step.change < 0
        _label(axes, place, step.reached, f"{step.reached:.1f}{mark}", below=lost)
    # The axis does not begin at zero, so levels are lines here and only changes are areas.
    margin = max(max(shown) - min(shown), 1.0)
    axes.set_ylim(min(shown) - 0.22 * margin, max(shown) + 0.22 * margin)
    axes.set_ylabel("top-1, %")
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0)


def _draw_bars(
    axes: Axes, steps: Sequence[WaterfallStep], values: Sequence[float | None], label: str
) -> None:
    for place, (step, value) in enumerate(zip(steps, values, strict=True)):
        if value is not None:
            hollow = step.kind == "teacher"
            axes.bar(
                place,
                value,
                width=0.6,
                facecolor="none" if hollow else _colour(step),
                edgecolor=_colour(step),
            )
            _label(axes, place, value, f"{value:,.3g}" if value < 1000 else f"{value:,.0f}")
    axes.margins(y=0.3)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(label)
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0)


def _name_columns(axes: Axes, steps: Sequence[WaterfallStep], shipped: str | None) -> None:
    shipped_flags = [step.bundle is not None and step.bundle == shipped for step in steps]
    names = [as_drawn(step.name).replace(" ", "\n", 1).replace("+", "+\n") for step in steps]
    axes.set_xticks(
        range(len(steps)),
        [
            f"{name}\nships" if is_shipped else name
            for name, is_shipped in zip(names, shipped_flags, strict=True)
        ],
    )
    for text, is_shipped in zip(axes.get_xticklabels(), shipped_flags, strict=True):
        text.set_fontsize(8.5)
        text.set_fontweight("bold" if is_shipped else "normal")
    axes.set_xlim(-0.6, len(steps) - 0.4)


def _colour(step: WaterfallStep) -> str:
    if step.format is not None:
        return COLOURS.get(step.format, OTHER_COLOUR)
    return OTHER_COLOUR if step.kind == "teacher" else _TORCH


def _label(axes: Axes, place: float, height: float, words: str, *, below: bool = False) -> None:
    axes.annotate(
        words, (place, height), ha="center", va="top" if below else "bottom", fontsize=8.5,
        xytext=(0, -3 if below else 3), textcoords="offset points",
    )  # fmt: skip
