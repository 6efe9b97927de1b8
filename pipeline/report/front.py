"""The front: accuracy against what it costs, a point a bundle, or a trial of a search.

Whoever has points of another kind than a run's bundles, such as a search, makes `FrontPoint`s and
gives them to `pipeline.report.write.write_points`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from deploy_targets.measurement import Measurement
from pipeline.gating.metrics import Figure, Missing, metric_named, read
from pipeline.report.headline import is_suspect
from pipeline.shown.pages.plots import DataTable, Value

Place = Literal["on", "off", "tied"]

MEASURES: dict[str, str] = {
    "accuracy": "top-1, %",
    "latency": "median latency, ms",
    "p95": "95th percentile of latency, ms",
    "size": "model size, kB",
    "memory": "peak memory, MiB",
    "energy": "energy, mJ an image",
}
"""What a point may have, by the names of its fields, with the unit."""


@dataclass(frozen=True)
class FrontPoint:
    """A bundle or a trial.

    Attributes:
        name: told in the table and where one points at it.
        accuracy: top-1 in percent, with its interval.
        latency: median of a query in milliseconds, with its interval.
        p95: its 95th percentile.
        size: of the model, in kB.
        memory: at its peak, in MiB.
        energy: of an image, in mJ.
        group: what has one colour and one entry in the legend: "onnx int8".
        target, precision: to filter by.
        place: on the front, off it, or tied: below it by less than the intervals can tell.
        run: the run's or the study's name, where there are several.
        suspect: whether its measurement may speak of something else.
        ships: whether it is the one to ship.
        note: a line for whoever looks closer: the settings of a trial, why it is suspect.
        estimated: whether its latency was computed, and not measured.
    """

    name: str
    accuracy: Figure | None = None
    latency: Figure | None = None
    p95: Figure | None = None
    size: float | None = None
    memory: Figure | None = None
    energy: Figure | None = None
    group: str = ""
    target: str = ""
    precision: str = ""
    place: Place = "off"
    run: str = ""
    suspect: bool = False
    ships: bool = False
    note: str = ""
    estimated: bool = False

    def value(self, measure: str) -> Figure | None:
        """One of `MEASURES`."""
        figure = getattr(self, measure)
        return Figure.exact(figure) if isinstance(figure, (int, float)) else figure


def point_of(measurement: Measurement, run: str = "", shipped: str | None = None) -> FrontPoint:
    """The point of a measured bundle; `place` is not known yet."""
    bundle = measurement.bundle
    whose = "teacher " if bundle.role == "teacher" else ""
    energy = _figure("energy_j_per_image", measurement)
    return FrontPoint(
        name=bundle.name,
        accuracy=_figure("top1_percent", measurement),
        latency=_figure("latency_p50_ms", measurement),
        p95=_figure("latency_p95_ms", measurement),
        size=bundle.model_bytes / 1e3,
        memory=_figure("peak_memory_mb", measurement),
        energy=energy and Figure(1e3 * energy.value, 1e3 * energy.low, 1e3 * energy.high),
        group=f"{whose}{bundle.format} {bundle.precision}",
        target=bundle.target,
        precision=bundle.precision,
        run=run,
        suspect=is_suspect(measurement),
        ships=bundle.name == shipped,
        note="; ".join(measurement.validity.reasons),
    )


def placed(points: Sequence[FrontPoint]) -> list[FrontPoint]:
    """The points, each told whether it is on the front of accuracy against latency.

    A point is on it where none is as accurate and as fast and better in one of the two; off it
    where one of those is better beyond both intervals; and tied in between.
    """
    return [replace(point, place=_place(point, points)) for point in points]


def _place(point: FrontPoint, points: Sequence[FrontPoint]) -> Place:
    if point.accuracy is None or point.latency is None:
        return "off"
    better = [other for other in points if _dominates(other, point)]
    if not better:
        return "on"
    return "off" if any(_is_clear(other, point) for other in better) else "tied"


def _dominates(other: FrontPoint, point: FrontPoint) -> bool:
    if other.accuracy is None or other.latency is None:
        return False
    assert point.accuracy is not None
    assert point.latency is not None
    more, less = other.accuracy.value, other.latency.value
    as_good = more >= point.accuracy.value and less <= point.latency.value
    return as_good and (more > point.accuracy.value or less < point.latency.value)


def _is_clear(other: FrontPoint, point: FrontPoint) -> bool:
    """Whether it is better, in one of the two, by more than the intervals."""
    assert other.accuracy is not None
    assert other.latency is not None
    assert point.accuracy is not None
    assert point.latency is not None
    is_faster = other.latency.high < point.latency.low
    return is_faster or other.accuracy.low > point.accuracy.high


def front_data(points: Sequence[FrontPoint]) -> dict[str, Any]:
    """What the script needs to draw them, as JSON values."""
    measures = {name: words for name, words in MEASURES.items() if _is_known(name, points)}
    return {
        "measures": measures,
        "points": [
            {
                **{key: value for key, value in asdict(point).items() if key not in MEASURES},
                "values": {name: _triple(point.value(name)) for name in measures},
            }
            for point in points
        ],
    }


def front_table(points: Sequence[FrontPoint]) -> DataTable:
    """A row a point, in order; each figure with the ends of its interval."""
    measures = [name for name in MEASURES if _is_known(name, points)]
    several = len({point.run for point in points}) > 1
    heads = ["run"] if several else []
    heads += ["name", "front", "group", "target", "precision"]
    for name in measures:
        heads += [MEASURES[name]]
        heads += [] if name == "size" else [f"{name} low", f"{name} high"]
    rows: list[list[Value]] = []
    for point in points:
        row: list[Value] = [point.run] if several else []
        row += [point.name, point.place, point.group, point.target, point.precision]
        for name in measures:
            value, low, high = _triple(point.value(name)) or (None, None, None)
            row += [value] if name == "size" else [value, low, high]
        rows.append([*row, _standing(point), point.note])
    return DataTable([*heads, "stands", "note"], rows)


def _standing(point: FrontPoint) -> str:
    words = {"ships": point.ships, "suspect": point.suspect, "estimated": point.estimated}
    return ", ".join(word for word, holds in words.items() if holds)


def _is_known(measure: str, points: Sequence[FrontPoint]) -> bool:
    return any(point.value(measure) is not None for point in points)


def _triple(figure: Figure | None) -> tuple[float, float, float] | None:
    return None if figure is None else (figure.value, figure.low, figure.high)


def _figure(name: str, measurement: Measurement) -> Figure | None:
    figure = read(metric_named(name), measurement, name)
    return None if isinstance(figure, Missing) else figure
