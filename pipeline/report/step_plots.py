"""Plots of the way from teacher to INT8: accuracy as a waterfall, then size and latency."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.report.waterfall import WaterfallStep, is_marked, usual_split
from pipeline.shown.pages.plots import Axis, DataTable, Plot, PlotSeries, Value


def step_plots(steps: Sequence[WaterfallStep], shipped: str | None, caption: str) -> list[Plot]:
    """The waterfall, size and, where some step was timed, latency.

    Args:
        steps: in order; each comes after its source.
        shipped: the bundle's name.
        caption: of the waterfall, in words.
    """
    table = _table(steps)
    places = Axis("", categories=[_name(step, shipped) for step in steps])
    plots = [_waterfall(steps, places, table, caption)] if _reached(steps) else []
    sizes: list[list[Value]] = [
        [place, step.size_bytes and step.size_bytes / 1e3] for place, step in enumerate(steps)
    ]
    timed: list[list[Value]] = [[place, step.latency_ms] for place, step in enumerate(steps)]
    words = "Size of the weights, or of the bundle's model."
    plots.append(_bars("size", "kB", sizes, words, places=places, table=table))
    if any(ms is not None for _, ms in timed):
        words = "Median latency of one image; what runs in torch was not timed."
        plots.append(_bars("latency", "ms", timed, words, places=places, table=table))
    return plots


def _reached(steps: Sequence[WaterfallStep]) -> list[float]:
    return [step.reached for step in steps if step.reached is not None]


def _name(step: WaterfallStep, shipped: str | None) -> str:
    ships = step.bundle is not None and step.bundle == shipped
    return f"{step.name}, ships" if ships else step.name


def _waterfall(
    steps: Sequence[WaterfallStep], places: Axis, table: DataTable, caption: str
) -> Plot:
    """Bars that hang between two accuracies, over unseen ones, and a dot where each step ends."""
    base: list[list[Value]] = []
    won: list[list[Value]] = []
    lost: list[list[Value]] = []
    levels: list[list[Value]] = []
    for place, step in enumerate(steps):
        if step.reached is None:
            continue
        levels.append([place, step.reached])
        if step.before is not None and step.change is not None:
            base.append([place, min(step.before, step.reached)])
            (won if step.change >= 0 else lost).append([place, abs(step.change)])
    ends = [*_reached(steps), *(step.before for step in steps if step.before is not None)]
    margin = max(max(ends) - min(ends), 1.0) / 5
    series = [
        PlotSeries("unseen", base, "bar", stack="step", is_base=True),
        PlotSeries("gained", won, "bar", stack="step", colour="good"),
        PlotSeries("lost", lost, "bar", stack="step", colour="bad"),
        PlotSeries("reached", levels, "scatter", colour="quiet"),
    ]
    axis = Axis(
        f"{usual_split(steps)} top-1, %",
        low=max(0.0, float(int(min(ends) - margin))),
        high=min(100.0, float(int(max(ends) + margin) + 1)),
    )
    return Plot(
        "waterfall", "From teacher to what ships", caption, places, axis, series, table, height=360
    )


def _bars(
    what: str,
    unit: str,
    points: list[list[Value]],
    caption: str,
    *,
    places: Axis,
    table: DataTable,
) -> Plot:
    return Plot(
        f"{what}-by-step", f"{what.capitalize()}, step by step", caption, places,
        Axis(f"{what}, {unit}", low=0, offers_log=True), [PlotSeries(unit, points, "bar")],
        table, height=280,
    )  # fmt: skip


def _table(steps: Sequence[WaterfallStep]) -> DataTable:
    heads = [
        "step", "images", "top-1, %", "change, points", "than", "size, bytes", "p50, ms",
        "what it is",
    ]  # fmt: skip
    rows: list[list[Value]] = [
        [
            step.name,
            f"{step.split or ''}{' *' if is_marked(step, steps) else ''}",
            step.reached,
            step.change,
            step.source.name if step.source else None,
            step.size_bytes,
            step.latency_ms,
            step.description,
        ]
        for step in steps
    ]
    return DataTable(heads, rows)
