"""The report's plots, as SVG text that stands in the page itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deploy_targets.measurement import Measurement
from pipeline.gating.metrics import top1_percent
from pipeline.shown.pages.drawing import as_drawn, draw_axes, draw_figure

# Colour tells the format, the marker's shape the precision: both survive a grey print.
COLOURS = {"onnx": "#2563a8", "openvino": "#c2571a"}
OTHER_COLOUR = "#5b6472"
_MARKERS = {"fp32": "o", "fp16": "s", "bf16": "^", "int8": "D"}
_LONGEST_TAIL = 2.5  # times the longest median
_ALONE_COLOUR = "#8d95a1"
_STAGE_COLOURS = ("#2563a8", "#c2571a", "#2f8f5b", "#7d4fa8", "#a88a1e")


def accuracy_against(
    measurements: Sequence[Measurement],
    figure_of: Callable[[Measurement], float | None],
    label: str,
    salt: str,
) -> str:
    """Accuracy over a cost, a point a bundle; top left is best.

    Args:
        measurements: what to show.
        figure_of: the cost, on a logarithmic axis.
        label: the cost's name and unit.
        salt: makes the SVG's ids unlike those of other figures in the page.

    Returns:
        SVG text; empty when there is nothing to show.
    """
    points = [
        (measurement, cost, top1)
        for measurement in measurements
        if (cost := figure_of(measurement)) is not None
        and (top1 := top1_percent(measurement)) is not None
    ]
    if not points:
        return ""

    def draw(axes: Axes) -> None:
        for measurement, cost, top1 in points:
            teacher = measurement.bundle.role == "teacher"
            colour = COLOURS.get(measurement.bundle.format, OTHER_COLOUR)
            axes.plot(
                cost,
                top1,
                _MARKERS.get(measurement.bundle.precision, "o"),
                markersize=11 if teacher else 8,
                markerfacecolor="none" if teacher else colour,
                markeredgecolor=colour,
                markeredgewidth=2 if teacher else 1,
                linestyle="none",
                label=point_name(measurement),
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if _is_labelled(value) else "")
        axes.margins(x=0.12, y=0.18)
        axes.set_xlabel(label)
        axes.set_ylabel("test top-1, %")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)

    return draw_axes(draw, salt, width=7.4, height=3.3)


def point_name(measurement: Measurement) -> str:
    """What a bundle is called in a plot: "teacher onnx fp32", "onnx int8"."""
    whose = "teacher " if measurement.bundle.role == "teacher" else ""
    return as_drawn(f"{whose}{measurement.bundle.format} {measurement.bundle.precision}")


def latency_bars(measurements: Sequence[Measurement], salt: str) -> str:
    """Median and tail latency of every bundle, side by side."""
    if not measurements:
        return ""

    # A tail far out, which other work on the machine makes, would press all bars to the edge.
    furthest = _LONGEST_TAIL * max((m.latency_ms.p50 or 0 for m in measurements), default=0)

    def draw(axes: Axes) -> None:
        names = [point_name(measurement) for measurement in measurements]
        for row, measurement in enumerate(measurements):
            latency = measurement.latency_ms
            if latency.p50 is None:
                continue
            colour = COLOURS.get(measurement.bundle.format, OTHER_COLOUR)
            axes.barh(row, latency.p50, color=colour, height=0.55)
            words, end = f" {latency.p50:.3g} ms", latency.p50
            tail = latency.p99 or latency.p95 or latency.p90
            if tail is not None:
                end = min(tail, furthest)
                axes.plot([latency.p50, end], [row, row], color="#1f2733", linewidth=1.2)
                axes.plot(end, row, "|" if tail == end else ">", color="#1f2733", markersize=7)
                words += "" if tail == end else f", tail to {tail:.3g}"
            axes.annotate(
                words,
                (end, row),
                va="center",
                fontsize=9,
                xytext=(4, 0),
                textcoords="offset points",
            )
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.margins(x=0.2)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("milliseconds for one image: bar p50, whisker to p99")

    return draw_axes(draw, salt, width=7.4, height=0.6 + 0.42 * len(measurements))


def validation_curve(
    stages: Sequence[dict[str, Any]],
    alone: dict[str, Any] | None,
    teacher: float | None,
    salt: str,
) -> str:
    """Validation accuracy over all epochs, a colour a stage, the teacher as a line.

    Args:
        stages: metrics of each, in order.
        alone: those of the student that was trained alone on the labels, which is drawn in grey.
        teacher: its accuracy there, 0..1.
        salt: makes the SVG's ids unlike those of other figures in the page.

    Returns:
        SVG text; empty when there is nothing to show.
    """
    if not stages or any(r["val_top1"] is None for s in stages for r in s["history"]):
        return ""

    def draw(axes: Axes) -> None:
        start = 0
        for number, stage in enumerate(stages):
            epochs = [start + record["epoch"] for record in stage["history"]]
            accuracy = [100 * record["val_top1"] for record in stage["history"]]
            colour = _STAGE_COLOURS[number % len(_STAGE_COLOURS)]
            axes.plot(epochs, accuracy, color=colour, linewidth=1.8, label=as_drawn(stage["name"]))
            start = epochs[-1]
            if number < len(stages) - 1:
                axes.axvline(start + 0.5, color="#b6bcc6", linewidth=0.8, linestyle=":")
        if alone is not None:
            epochs = [record["epoch"] for record in alone["history"]]
            accuracy = [100 * record["val_top1"] for record in alone["history"]]
            axes.plot(epochs, accuracy, color=_ALONE_COLOUR, linewidth=1.4, zorder=1, label="alone")
        if teacher is not None:
            axes.axhline(100 * teacher, color="#5b6472", linewidth=1, linestyle="--")
            axes.annotate(
                "teacher", (1, 100 * teacher), xytext=(0, 3), textcoords="offset points", fontsize=9
            )
        axes.set_xlabel("epoch, all stages")
        axes.set_ylabel("validation top-1, %")
        axes.legend(title="stage", loc="lower right", frameon=False)

    return draw_axes(draw, salt, width=7.4, height=3.3)


def loss_curves(stages: Sequence[dict[str, Any]], salt: str) -> str:
    """Every named loss of every stage over its epochs."""
    if not stages:
        return ""

    def draw_all(figure: Figure) -> None:
        panels = figure.subplots(1, len(stages), squeeze=False)[0]
        for axes, stage in zip(panels, stages, strict=True):
            for name in stage["history"][-1]["losses"]:
                values = [record["losses"][name] for record in stage["history"]]
                style = {"linewidth": 2.0, "color": "#1f2733"} if name == "loss" else {}
                axes.plot(
                    [r["epoch"] for r in stage["history"]], values, label=as_drawn(name), **style
                )
            axes.set_yscale("log")
            axes.set_title(as_drawn(f"stage {stage['index']}: {stage['name']}"), fontsize=10)
            axes.set_xlabel("epoch")
            axes.legend(
                loc="upper center",
                bbox_to_anchor=(0.5, -0.22),
                ncols=2,
                frameon=False,
                fontsize=8,
            )
        panels[0].set_ylabel("weighted loss")

    return draw_figure(draw_all, salt, width=7.4, height=3.4)


def _is_labelled(value: float) -> bool:
    digit = f"{value:.0e}"[0]
    return digit in "25"
