"""Accuracy against cost as a still picture, for a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from deploy_targets.measurement import Measurement
from pipeline.gating.metrics import top1_percent
from pipeline.shown.pages.drawing import StillPlot, as_drawn

# Colour tells the format, the marker's shape the precision: both survive a grey print.
COLOURS = {"onnx": "#2563a8", "openvino": "#c2571a", "ncnn": "#2f7d4f", "executorch": "#7b4fa3"}
OTHER_COLOUR = "#5b6472"
_MARKERS = {"fp32": "o", "fp16": "s", "bf16": "^", "int8": "D"}


def accuracy_against_latency(measurements: Sequence[Measurement]) -> StillPlot | None:
    """Accuracy over the median latency, a point a bundle; top left is best.

    Returns:
        None when there is nothing to show.
    """
    points = [
        (measurement, cost, top1)
        for measurement in measurements
        if (cost := measurement.latency_ms.p50) is not None
        and (top1 := top1_percent(measurement)) is not None
    ]
    if not points:
        return None

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
        axes.set_xlabel("median latency of one image, ms")
        axes.set_ylabel("test top-1, %")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)

    return StillPlot(lambda figure: draw(figure.subplots()), width=7.4, height=3.3)


def point_name(measurement: Measurement) -> str:
    """What a bundle is called in a plot: "teacher onnx fp32", "onnx int8"."""
    whose = "teacher " if measurement.bundle.role == "teacher" else ""
    return as_drawn(f"{whose}{measurement.bundle.format} {measurement.bundle.precision}")


def _is_labelled(value: float) -> bool:
    digit = f"{value:.0e}"[0]
    return digit in "25"
