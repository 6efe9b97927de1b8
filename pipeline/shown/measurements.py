"""Measurements as words: heads and rows of a table, and lines beneath it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from deploy_targets.device.messages import SUSPECT, Accuracy, ExecutedPrecision, Latency, Scenario
from deploy_targets.device.percentiles import fewest_queries
from deploy_targets.device.runtimes import runtime_for
from deploy_targets.measurement import Measurement, scenario_words

_USUAL = (50.0, 90.0, 95.0, 99.0)
NOTHING = "–"

T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """A figure in words, and the interval that it lies in."""

    words: str
    interval: str = ""

    def __str__(self) -> str:
        return f"{self.words} ({self.interval})" if self.interval else self.words


@dataclass(frozen=True)
class MeasuredTable:
    """A table of measurements.

    Attributes:
        title: what they have in common.
        heads: of its columns.
        rows: a measurement each, the teacher's first.
        notes: lines beneath it: what is suspect, and why.
        bundles: name and role of each row's.
    """

    title: str
    heads: list[str]
    rows: list[list[Cell]]
    notes: list[str]
    bundles: list[tuple[str, str]]


def measured_table(measurements: Sequence[Measurement]) -> MeasuredTable:
    """Every measurement's figures with their intervals."""
    ordered = _ordered(measurements)
    percents = _percents(ordered)
    several = len({measurement.host.name for measurement in ordered}) > 1
    scenarios = {scenario_words(measurement.scenario) for measurement in ordered}
    mixed = len(scenarios) > 1
    metered = any(measurement.energy for measurement in ordered)
    compared = any(measurement.agreement for measurement in ordered)
    heads = [
        "bundle", *_only_if(several, "host"), *_only_if(mixed, "scenario"), "validity", "ran in",
        "top-1 %", *_only_if(compared, "as the teacher %"),
        *(f"p{percent:g}{' ms' if percent == percents[0] else ''}" for percent in percents),
        "n", "images/s", *_only_if(metered, "mJ/image"), "model kB",
    ]  # fmt: skip
    rows = []
    for measurement in ordered:
        joules = None if measurement.energy is None else measurement.energy.joules_per_image
        energy = Cell(_number(None if joules is None else 1e3 * joules, 2))
        rows.append(
            [
                Cell(measurement.bundle.name),
                *_only_if(several, Cell(measurement.host.name)),
                *_only_if(mixed, Cell(scenario_words(measurement.scenario))),
                Cell(measurement.validity.verdict),
                _ran_in(measurement.runtime.executed_precision),
                _share(measurement.accuracy),
                *_only_if(compared, _share(measurement.agreement)),
                *(_percentile(measurement.latency_ms, percent) for percent in percents),
                Cell(f"{measurement.latency_ms.n:,}"),
                _throughput(measurement),
                *_only_if(metered, energy),
                Cell(_number(measurement.bundle.model_bytes / 1e3, 0)),
            ]
        )
    bundles = [(measurement.bundle.name, measurement.bundle.role) for measurement in ordered]
    common = "" if mixed else f"{next(iter(scenarios), '')}, "
    title = f"Measured: {common}each bound at 99 %"
    return MeasuredTable(title, heads, rows, _notes(ordered, several), bundles)


def start_table(measurements: Sequence[Measurement]) -> MeasuredTable:
    """How the first process began, and its memory; below, what others of its like showed."""
    ordered = _ordered(measurements)
    several = len({measurement.host.name for measurement in ordered}) > 1
    mixed = len({scenario_words(measurement.scenario) for measurement in ordered}) > 1
    heads = [
        "bundle", *_only_if(several, "host"), *_only_if(mixed, "scenario"), "runtime", "threads",
        "cores", "import ms", "load ms", "first answer ms", "in all ms", "MB before", "steady MB",
        "peak MB",
    ]  # fmt: skip
    rows = []
    for measurement in ordered:
        start, memory, runtime = measurement.startup_ms, measurement.memory_mb, measurement.runtime
        rows.append(
            [
                Cell(measurement.bundle.name),
                *_only_if(several, Cell(measurement.host.name)),
                *_only_if(mixed, Cell(scenario_words(measurement.scenario))),
                Cell(f"{runtime.name} {runtime.version}"),
                Cell(str(runtime.threads)),
                Cell(",".join(map(str, runtime.pinned)) if runtime.pinned else "any"),
                *(Cell(_number(ms, 1)) for ms in (start.import_, start.load)),
                Cell(_number(start.first_inference, 2)),
                Cell(_number(start.total, 1), _starts_words(measurement)),
                *(Cell(_number(mb, 0)) for mb in (memory.before_load, memory.steady)),
                Cell(_number(memory.peak, 0), _peaks_words(measurement)),
            ]
        )
    bundles = [(measurement.bundle.name, measurement.bundle.role) for measurement in ordered]
    return MeasuredTable("Start and memory of the process", heads, rows, [], bundles)


def _starts_words(measurement: Measurement) -> str:
    """The least and the most that processes took to start; "one look" where there was but one."""
    return _range_words([start.startup_ms.total for start in measurement.starts], 0)


def _peaks_words(measurement: Measurement) -> str:
    peaks = [start.memory_mb.peak for start in measurement.starts if start.memory_mb]
    return _range_words([peak for peak in peaks if peak is not None], 1)


def _range_words(values: Sequence[float], digits: int) -> str:
    if len(values) < 2:
        return "one look"
    return f"{min(values):,.{digits}f} to {max(values):,.{digits}f} in {len(values)}"


def _ordered(measurements: Sequence[Measurement]) -> list[Measurement]:
    return sorted(
        measurements, key=lambda m: (m.bundle.role != "teacher", m.bundle.name, m.scenario.name)
    )


def plain_of(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Those of one image after another, in the runtime that the format stands for."""
    return [
        measurement
        for measurement in measurements
        if measurement.scenario == Scenario()
        and measurement.runtime.name == runtime_for(measurement.bundle.format)
    ]


def _only_if(condition: bool, column: T) -> list[T]:
    return [column] if condition else []


def _notes(measurements: Sequence[Measurement], several: bool) -> list[str]:
    notes = [
        f"{measurement.bundle.name}{f' on {measurement.host.name}' if several else ''} is suspect: "
        f"{'; '.join(measurement.validity.reasons)}"
        for measurement in measurements
        if measurement.validity.verdict == SUSPECT
    ]
    unavailable = {name for m in measurements for name in m.validity.unavailable}
    if unavailable:
        notes.append(f"unavailable here: {', '.join(sorted(unavailable))}")
    return notes


def _percents(measurements: Sequence[Measurement]) -> list[float]:
    """Those that a measurement has, and the usual ones that one lacked the queries for."""
    available = {float(name[1:]) for m in measurements for name in m.latency_ms.percentiles}
    fewest = min((measurement.latency_ms.n for measurement in measurements), default=0)
    return sorted(available | {percent for percent in _USUAL if fewest < fewest_queries(percent)})


def _percentile(latency: Latency, percent: float) -> Cell:
    """The figure, or how many queries it would have needed: `n` says how many there were."""
    figure = latency.percentiles.get(f"p{percent:g}")
    if figure is not None:
        digits = 3 if figure.value < 100 else 1
        return Cell(
            _number(figure.value, digits),
            f"{_number(figure.low, digits)}–{_number(figure.high, digits)}",
        )
    needed = fewest_queries(percent)
    return Cell(NOTHING, f"needs {needed:,}" if latency.n < needed else "")


def _throughput(measurement: Measurement) -> Cell:
    throughput = measurement.throughput
    interval = f"{_number(throughput.low, 0)}–{_number(throughput.high, 0)}"
    return Cell(_number(throughput.images_per_s, 0), interval)


def _share(right: Accuracy | None) -> Cell:
    """A share of the images, of which there may be none."""
    if right is None:
        return Cell(NOTHING)
    return Cell(_number(100 * right.top1, 2), f"{100 * right.low:.1f}–{100 * right.high:.1f}")


def ran_in(executed: ExecutedPrecision) -> str:
    """The precision of most operators, and how many ran in each: "int8 (u8 9, f32 2)"."""
    return str(_ran_in(executed))


def _ran_in(executed: ExecutedPrecision) -> Cell:
    counts = sorted(executed.operators.items(), key=lambda item: (-item[1], item[0]))
    detail = ", ".join(f"{name} {count}" for name, count in counts) if len(counts) > 1 else ""
    return Cell(executed.summary, detail)


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:,.{digits}f}"
