"""Plots of bundles that were kept at work: latency, then speed beside the clock, then heat."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deploy_targets.device.stretches import Stretch
from deploy_targets.sustained import Sustained
from pipeline.shown.pages.plots import Axis, DataTable, Mark, Plot, PlotSeries, Value
from pipeline.shown.sustained import sustained_lines

Of = Callable[[Stretch], float | None]

_HEADS = [
    "at, minutes", "seconds", "queries", "p50, ms", "p95, ms", "slowest, ms", "clock, MHz",
    "temperature, °C", "throttled", "others' CPU, %",
]  # fmt: skip


def sustained_plots(series: Sequence[Sustained]) -> list[Plot]:
    """Two plots or three of each series: those of what its machine tells."""
    return [plot for place, one in enumerate(series, start=1) for plot in _plots(place, one)]


def _plots(place: int, sustained: Sustained) -> list[Plot]:
    table, minutes = _table(sustained), Axis("minutes at work", low=0)
    name = f"{sustained.bundle.name} on {sustained.host.name}"
    settled = sustained.holding.settled_after_s
    marks = [] if settled is None else [Mark("settled", x=settled / 60)]
    latencies = [
        PlotSeries("p50", _points(sustained, lambda stretch: stretch.p50_ms)),
        PlotSeries("p95", _points(sustained, lambda stretch: stretch.p95_ms), dashed=True),
    ]
    lines = ". ".join(f"{line[:1].upper()}{line[1:]}" for line in sustained_lines(sustained))
    plots = [
        Plot(
            f"sustained-{place}", f"Latency at work: {name}", f"{lines}.", minutes,
            Axis("latency of a query, ms", offers_log=True),
            [one for one in latencies if one.points], table, marks,
        ),
        _speed(place, sustained, name, table),
    ]  # fmt: skip
    heat = _points(sustained, lambda stretch: stretch.conditions.temperature_c)
    if heat:
        words = "Of the hottest thermal zone, the highest look of each stretch."
        plots.append(
            Plot(
                f"sustained-heat-{place}", f"Temperature at work: {name}", words, minutes,
                Axis("°C"), [PlotSeries("temperature", heat)], table, height=240,
            )
        )  # fmt: skip
    return plots


def _speed(place: int, sustained: Sustained, name: str, table: DataTable) -> Plot:
    """Speed and clock as shares of the opening's: where both fall alike, the clock is the cause."""
    holding = sustained.holding
    first_ms, first_mhz = holding.opening_ms, holding.opening_mhz
    speed = _points(sustained, lambda s: 100 * first_ms / s.p50_ms if first_ms else None)
    clock = _points(
        sustained,
        lambda s: (
            100 * mhz / first_mhz
            if first_mhz and (mhz := s.conditions.frequency_mhz) is not None
            else None
        ),
    )
    series = [PlotSeries("speed", speed)]
    series += [PlotSeries("clock", clock, dashed=True)] if clock else []
    caption = (
        "Speed is the inverse of the median latency; both as shares of the opening's medians."
        + ("" if clock else " This machine does not tell its clock.")
    )
    return Plot(
        f"sustained-speed-{place}", f"Speed and clock: {name}", caption,
        Axis("minutes at work", low=0), Axis("% of the opening's"), series, table, height=280,
    )  # fmt: skip


def _points(sustained: Sustained, of: Of) -> list[list[Value]]:
    """Minutes and a figure of each stretch that has it, at the middle of the stretch."""
    return [
        [(stretch.at_s + stretch.seconds / 2) / 60, value]
        for stretch in sustained.stretches
        if (value := of(stretch)) is not None
    ]


def _table(sustained: Sustained) -> DataTable:
    rows: list[list[Value]] = []
    for stretch in sustained.stretches:
        seen = stretch.conditions
        throttled = None if seen.throttled is None else "yes" if seen.throttled else "no"
        others = None if seen.other_cpu is None else 100 * seen.other_cpu
        rows.append(
            [
                stretch.at_s / 60, stretch.seconds, stretch.n, stretch.p50_ms, stretch.p95_ms,
                stretch.max_ms, seen.frequency_mhz, seen.temperature_c, throttled, others,
            ]
        )  # fmt: skip
    return DataTable(_HEADS, rows)
