"""Plots of the latencies: how they are distributed, and how they went over the time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from deploy_targets.measurement import Measurement, samples_ms
from pipeline.report.headline import is_suspect
from pipeline.shown.pages.plots import Axis, DataTable, Mark, Plot, PlotSeries, Value

_BINS = 60
_MOST_POINTS = 400
_MARKED = ("p50", "p95", "p99")


def latency_plots(measurements: Sequence[Measurement], first: str | None) -> list[Plot]:
    """The distribution of every measurement with samples, then the series of each, the first one's
    marked with its percentiles.

    Args:
        measurements: of one image after another.
        first: name of the bundle that matters most.
    """
    kept = [measurement for measurement in measurements if measurement.samples_us]
    if not kept:
        return []
    kept.sort(key=lambda measurement: measurement.bundle.name != first)
    return [_distribution(kept), *(_series(place, kept[place]) for place in range(len(kept)))]


def without_samples(measurements: Sequence[Measurement]) -> list[str]:
    """Names of the bundles of which no samples were kept."""
    return [m.bundle.name for m in measurements if not m.samples_us]


def _distribution(measurements: Sequence[Measurement]) -> Plot:
    """Shares of queries by latency, in bins of equal width on a logarithmic scale."""
    samples = {_title(m): np.concatenate(samples_ms(m)) for m in measurements}
    least = min(float(values.min()) for values in samples.values())
    most = max(float(values.max()) for values in samples.values())
    edges = np.geomspace(max(least, 1e-6), max(most, least * 1.01, 1e-6), _BINS + 1)
    edges[-1] = math.nextafter(edges[-1], math.inf)
    series, rows = list[PlotSeries](), list[list[Value]]()
    for name, values in samples.items():
        counts = np.histogram(np.clip(values, edges[0], None), edges)[0]
        shares = 100 * counts / len(values)
        series.append(PlotSeries(name, _steps(edges, shares), step=True))
        rows += [
            [name, float(low), float(high), int(count)]
            for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
            if count
        ]
    caption = (
        f"Share of the queries by their latency, {_BINS} bins of equal width on the logarithmic "
        f"axis. Upright lines: percentiles of {measurements[0].bundle.name}."
    )
    return Plot(
        "latency-distribution", "How latencies are distributed", caption,
        Axis("latency of a query, ms", log=True, offers_log=True), Axis("queries, %", low=0),
        series,
        DataTable(["bundle", "from ms", "to ms", "queries"], rows), _percentiles(measurements[0]),
    )  # fmt: skip


def _steps(edges: np.ndarray, shares: np.ndarray) -> list[list[Value]]:
    """A line that steps from bin to bin, where some query was, and to zero at both ends."""
    there = np.flatnonzero(shares)
    first, last = int(there[0]), int(there[-1])
    points: list[list[Value]] = [[float(edges[first]), 0.0]]
    points += [[float(edges[i]), float(shares[i])] for i in range(first, last + 1)]
    return [*points, [float(edges[last + 1]), 0.0]]


def _percentiles(measurement: Measurement) -> list[Mark]:
    percentiles = measurement.latency_ms.percentiles
    return [Mark(name, x=percentiles[name].value) for name in _MARKED if name in percentiles]


def _series(place: int, measurement: Measurement) -> Plot:
    """Each query in the order of time; of many the median and the slowest of neighbours."""
    parts = samples_ms(measurement)
    values = np.concatenate(parts)
    width = max(1, math.ceil(len(values) / _MOST_POINTS))
    groups = [values[start : start + width] for start in range(0, len(values), width)]
    starts = [start + 1 for start in range(0, len(values), width)]
    rows: list[list[Value]] = [
        [start, float(np.median(group)), float(group.max())]
        for start, group in zip(starts, groups, strict=True)
    ]
    series = [PlotSeries("median", [[row[0], row[1]] for row in rows])]
    if width > 1:
        series.append(PlotSeries("slowest", [[row[0], row[2]] for row in rows], "scatter"))
    suspect = is_suspect(measurement)
    verdict = f"suspect: {'; '.join(measurement.validity.reasons)}" if suspect else "valid"
    of_many = f", {width} neighbours to a point" if width > 1 else ""
    caption = (
        f"{len(values):,} queries in order{of_many}; {len(parts)} parts, between which the "
        f"machine was looked at. The measurement is {verdict}."
    )
    ends = np.cumsum([len(part) for part in parts])[:-1] + 0.5
    marks = [Mark("", x=float(end)) for end in ends] if len(parts) <= 12 else []
    return Plot(
        f"latency-series-{place + 1}", f"Over the time: {_title(measurement)}", caption,
        Axis("query", low=0), Axis("latency, ms", log=True, offers_log=True), series,
        DataTable(["query", "median ms", "slowest ms"], rows), marks, height=240,
    )  # fmt: skip


def _title(measurement: Measurement) -> str:
    return f"{measurement.bundle.name} on {measurement.host.name}"
