"""Plots of what bundles answer: by class, how sure against how right, and layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foundation.answers import Answers
from pipeline.report.answers import BINS, ClassWorth, calibration_error, reliability
from pipeline.shown.pages.plots import Axis, DataTable, Plot, PlotSeries, Value

_MOST_CLASSES = 24
_MOST_LAYERS = 80


def class_plot(worth: Sequence[ClassWorth], before: str, after: str) -> Plot:
    """Accuracy of each class before and after; of many classes those that changed most."""
    shown = list(worth)
    if len(shown) > _MOST_CLASSES:
        shown.sort(key=lambda row: -abs(row.change))
        shown = shown[:_MOST_CLASSES]
    caption = "Accuracy on the test images of each class"
    caption += f": the {len(shown)} of {len(worth)} classes that changed most." * (
        len(worth) > len(shown)
    )
    places = Axis("", categories=[row.name for row in shown])
    series = [
        PlotSeries(
            name, [[place, 100 * right(row) / row.n] for place, row in enumerate(shown)], "bar"
        )
        for name, right in ((before, _before), (after, _after))
    ]
    rows: list[list[Value]] = [
        [row.name, row.n, 100 * row.before / row.n, 100 * row.after / row.n, row.change]
        for row in sorted(worth, key=lambda row: row.change)
    ]
    heads = ["class", "images", f"{before}, %", f"{after}, %", "change, points"]
    return Plot(
        "accuracy-by-class", "Accuracy by class", caption.rstrip(".") + ".", places,
        Axis("test top-1, %", low=0, high=100), series, DataTable(heads, rows),
    )  # fmt: skip


def _before(row: ClassWorth) -> int:
    return row.before


def _after(row: ClassWorth) -> int:
    return row.after


def reliability_plot(answers: Mapping[str, Answers]) -> Plot:
    """Accuracy over confidence; on the diagonal a model is as often right as it is sure."""
    series = [PlotSeries("as sure as right", [[0, 0], [1, 1]], dashed=True, colour="quiet")]
    rows: list[list[Value]] = []
    for name, given in answers.items():
        bins = reliability(given)
        series.append(PlotSeries(name, [[bin_.confidence, bin_.accuracy] for bin_ in bins]))
        rows += [
            [name, b.low, b.high, b.n, b.confidence, b.accuracy, b.accuracy_low, b.accuracy_high]
            for b in bins
        ]
    errors = ", ".join(f"{name} {100 * calibration_error(a):.2f} %" for name, a in answers.items())
    caption = (
        f"How often the test images are named rightly (upwards) by how sure the model is (to the "
        f"right), {BINS} bins. Below the diagonal it is too sure. Expected calibration error: "
        f"{errors}."
    )
    heads = ["bundle", "from", "to", "images", "confidence", "accuracy", "low", "high"]
    return Plot(
        "reliability", "How sure, and how right", caption,
        Axis("mean confidence of the bin", low=0, high=1), Axis("accuracy", low=0, high=1), series,
        DataTable(heads, rows), height=360,
    )  # fmt: skip


def layer_plot(place: int, bundle: str, report: Mapping[str, Any]) -> Plot:
    """How far each operator's output is from FP32's, in order of execution."""
    layers = report["layers"]
    shown = layers if len(layers) <= _MOST_LAYERS else _worst(layers)
    points: list[list[Value]] = [
        [place, 100 * layer["relative_error"]] for place, layer in enumerate(shown)
    ]
    rows: list[list[Value]] = [
        [layer["operator"], layer["kind"], layer["relative_error"]] for layer in layers
    ]
    caption = (
        "Root mean square of what each operator's output is off by, in percent of the output's own "
        "size, in order of execution, on a few images; errors of earlier operators are in it."
    )
    if len(shown) < len(layers):
        caption += f" The worst {len(shown)} of {len(layers)}; all are in the table."
    if report.get("compared_to"):
        caption += f" Time ran out at {report['compared_to']}."
    return Plot(
        f"layers-{place}", f"Error of each layer: {bundle}", caption,
        Axis("", categories=[layer["operator"] for layer in shown]),
        Axis("error, %", low=0, offers_log=True), [PlotSeries(bundle, points, "bar")],
        DataTable(["operator", "kind", "relative error"], rows), height=300,
    )  # fmt: skip


def _worst(layers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The worst, still in order."""
    ranked = sorted(range(len(layers)), key=lambda i: -layers[i]["relative_error"])
    return [layers[place] for place in sorted(ranked[:_MOST_LAYERS])]
