"""What a budget can limit: each metric, read from a measurement with its interval."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from deploy_targets.device.messages import Accuracy
from deploy_targets.device.percentiles import (
    BOUNDS,
    FEWEST_FOR_BOUNDS,
    fewest_queries,
    percentile_of,
)
from deploy_targets.estimating.estimate import Estimate
from deploy_targets.measurement import Measurement
from foundation.errors import UnknownNameError, unknown_name
from foundation.sense import is_percentile
from foundation.statistics import wilson_interval
from pipeline.gating.graph_metrics import GRAPH_METRICS, graph_metric


@dataclass(frozen=True)
class Figure:
    """A figure with the interval that it lies in; bounds that equal it where it is exact."""

    value: float
    low: float
    high: float

    @classmethod
    def exact(cls, value: float) -> Figure:
        """A figure that another look would not change."""
        return cls(value, value, value)


@dataclass(frozen=True)
class Missing:
    """There is no figure.

    Attributes:
        reason: why, and what to do.
        undecided: whether there is a sample, but too small a one.
    """

    reason: str
    undecided: bool = False


Read: TypeAlias = Figure | Missing
Subject: TypeAlias = Measurement | Estimate

# Processes of one bundle have latencies that differ by 2 % (standard deviation): two of them are
# closer than this 99 times of 100, on either side.
PROCESSES_DIFFER = 1.068

# By how much a single start, a single process's memory and the energy of a single part of the time
# may lie from the next one: ten processes of a bundle on a busy machine took 10 % more or less to
# start (standard deviation), and 0.1 % more or less memory. Energy is guessed.
STARTUP_APART, MEMORY_APART, ENERGY_APART = 0.3, 0.02, 0.1

_NOT_TOLD = Missing("not measured: this host does not tell it")


@dataclass(frozen=True)
class Metric:
    """Something to limit.

    Attributes:
        words: what it is.
        read: from one measurement; None for a metric that compares two.
        versus_teacher: what it compares, if it does: "drop", "speedup" or "class drop".
        unit: of its figures.
        better: "lower" or "higher".
        timed: whether it depends on how quiet the machine was, so that a suspect measurement
            decides nothing.
        hosted: whether it depends on the host, its threads and the scenario at all.
        within: the lowest and the highest that a figure of it can be.
        by_class: what it is of classes, if it is: "recall", "macro_f1", "worst", ...; see
            `pipeline.gating.class_metrics`.
        own: whether it is a value of the run's own metric, in a unit of its own.
        compares: whether it already says how far a bundle is from the original, so that no
            regression of it is counted.
        sustained: whether it is of a bundle that was kept at work for long, which is a record of
            its own; see `pipeline.gating.sustained_metric`.
    """

    words: str
    read: Callable[[Measurement], Read] | None = None
    versus_teacher: Literal["drop", "speedup", "class drop"] | None = None
    unit: str = ""
    better: Literal["lower", "higher"] = "lower"
    timed: bool = True
    hosted: bool = True
    within: tuple[float, float] = (0.0, math.inf)
    by_class: str | None = None
    own: bool = False
    compares: bool = False
    sustained: bool = False

    @property
    def regressions_within(self) -> tuple[float, float]:
        """The lowest and the highest that a regression of it can be: percent, or points."""
        if self.own:
            return -math.inf, math.inf
        if self.in_points or self.by_class:
            return -100.0, 100.0
        return (-100.0, math.inf) if self.better == "lower" else (-math.inf, 100.0)

    @property
    def of_answers(self) -> bool:
        """Whether it rests on more of each image's answer than whether it is right."""
        return self.own or self.by_class is not None

    @property
    def in_points(self) -> bool:
        """Whether a regression of it is counted in percentage points."""
        return self.unit == "%"


def _throughput(measurement: Measurement) -> Read:
    throughput = measurement.throughput
    return Figure(throughput.images_per_s, throughput.low, throughput.high)


def median_of(values: Sequence[float], spread: float) -> Figure:
    """The median of what several processes (or parts of the time) showed, and where it lies.

    Args:
        values: at least one.
        spread: how far, as a share, another value may lie from any of them: where they are too few
            for bounds, the figure may lie so far beyond the least and the most.
    """
    ordered = sorted(values)
    bounds = percentile_of(ordered, 50)
    if bounds is not None:
        return Figure(bounds.value, bounds.low, bounds.high)
    middle, least, most = statistics.median(ordered), ordered[0], ordered[-1]
    if len(ordered) >= FEWEST_FOR_BOUNDS:
        return Figure(middle, least, most)
    return Figure(middle, least / (1 + spread), most * (1 + spread))


def _energy(measurement: Measurement) -> Read:
    energy = measurement.energy
    if energy is None:
        return _NOT_TOLD
    return median_of(energy.parts or [energy.joules_per_image], ENERGY_APART)


def _startup(measurement: Measurement) -> Read:
    totals = [start.startup_ms.total for start in measurement.starts]
    return median_of(totals or [measurement.startup_ms.total], STARTUP_APART)


def _memory(name: Literal["steady", "peak"]) -> Callable[[Measurement], Read]:
    def read(measurement: Measurement) -> Read:
        readings = [start.memory_mb for start in measurement.starts] or [measurement.memory_mb]
        values = [mb for memory in readings if memory and (mb := getattr(memory, name)) is not None]
        return median_of(values, MEMORY_APART) if values else _NOT_TOLD

    return read


def top1_percent(measurement: Measurement) -> float | None:
    """Top-1 accuracy on the test images, in percent."""
    return None if measurement.accuracy is None else 100 * measurement.accuracy.top1


def _top1(measurement: Measurement) -> Read:
    if measurement.accuracy is None:
        return Missing(
            "not measured: no images with labels were there; bench with --accuracy, on a set that "
            "has labels"
        )
    return _share(measurement.accuracy)


def _agreement(measurement: Measurement) -> Read:
    if measurement.agreement is None:
        return Missing(
            "not measured: no images without labels were there; distil with --unlabelled or "
            "data.unlabelled_from, and bench with --accuracy"
        )
    return _share(measurement.agreement)


def _share(accuracy: Accuracy) -> Figure:
    low, high = wilson_interval(round(accuracy.top1 * accuracy.n), accuracy.n)
    return Figure(100 * accuracy.top1, 100 * low, 100 * high)


def _percentile(name: str) -> Callable[[Measurement], Read]:
    def read(measurement: Measurement) -> Read:
        latency = measurement.latency_ms
        percentile = latency.percentiles.get(f"p{name}")
        if percentile is not None:
            return Figure(percentile.value, percentile.low, percentile.high)
        needed = fewest_queries(float(name))
        if latency.n >= needed:
            return Missing(f"p{name} was not asked for; bench with --percentile {name}")
        return Missing(
            f"p{name} needs {needed} queries, but {latency.n} were timed; "
            f"bench with --percentile {name}, and time enough",
            undecided=True,
        )

    return read


def _latency(name: str) -> Metric:
    words = "median latency of a query" if name == "50" else f"{name}th percentile of it"
    return Metric(words, _percentile(name), unit="ms")


def _of_classes(words: str, by_class: str) -> Metric:
    return Metric(
        words,
        unit="%",
        better="higher",
        timed=False,
        hosted=False,
        within=(0.0, 100.0),
        by_class=by_class,
    )


OF_ONE_CLASS = ("recall", "precision", "f1")
"""What is told of a single class: "recall.NAME"."""
OWN = "metric"
"""How the run's own metric is named: "metric.NAME"."""

METRICS: Mapping[str, Metric] = {
    **{f"latency_p{name}_ms": _latency(name) for name in ("50", "90", "95", "99")},
    "throughput_ips": Metric(
        "images per second in batches", _throughput, unit="images/s", better="higher"
    ),
    "peak_memory_mb": Metric(
        "peak memory of the process", _memory("peak"), unit="MiB", timed=False
    ),
    "steady_memory_mb": Metric(
        "its memory between queries", _memory("steady"), unit="MiB", timed=False
    ),
    "sustained_latency_p95_ms": Metric(
        "95th percentile of a query's latency in the last third of the time under sustained load",
        unit="ms",
        sustained=True,
    ),
    "energy_j_per_image": Metric("energy of an image", _energy, unit="J"),
    "startup_ms": Metric("import, load and first inference of a process", _startup, unit="ms"),
    "size_mb": Metric(
        "size of the model's files",
        lambda m: Figure.exact(m.bundle.model_bytes / 1e6),
        unit="MB",
        timed=False,
        hosted=False,
    ),
    "top1_percent": Metric(
        "top-1 accuracy on the test images",
        _top1,
        unit="%",
        better="higher",
        timed=False,
        hosted=False,
        within=(0.0, 100.0),
    ),
    "teacher_agreement_percent": Metric(
        "test images without labels that are answered as the teacher does",
        _agreement,
        unit="%",
        better="higher",
        timed=False,
        hosted=False,
        within=(0.0, 100.0),
    ),
    "drop_vs_teacher_points": Metric(
        "percentage points of top-1 below the teacher",
        versus_teacher="drop",
        unit="points",
        timed=False,
        hosted=False,
        within=(-100.0, 100.0),
    ),
    "worst_class_percent": _of_classes("recall of the class that has least", "worst"),
    "worst_class_drop_points": Metric(
        "percentage points of recall below the teacher, of the class that lost most",
        versus_teacher="class drop",
        unit="points",
        timed=False,
        hosted=False,
        within=(-100.0, 100.0),
        by_class="worst drop",
    ),
    "macro_recall_points": _of_classes("mean of all classes' recall, of 100", "macro_recall"),
    "macro_precision_points": _of_classes(
        "mean of all classes' precision, of 100", "macro_precision"
    ),
    "macro_f1_points": _of_classes("mean of all classes' F1, of 100", "macro_f1"),
    "speedup_vs_teacher": Metric(
        "median latency of the teacher over the student's",
        versus_teacher="speedup",
        unit="×",
        better="higher",
    ),
}

_PATTERNS = ("latency_pNN_ms", *(f"{kind}.CLASS" for kind in OF_ONE_CLASS), f"{OWN}.NAME")

# "_" stands for the point of 99.9, which in a TOML key must be quoted.
_PERCENTILE = re.compile(r"latency_p(\d+(?:[._]\d+)?)_ms")


def metric_named(name: str, where: str = "") -> Metric:
    """The metric of that name: one of `METRICS`, `latency_pNN_ms` of any percentile,
    `recall.CLASS`, `precision.CLASS` or `f1.CLASS`, `metric.NAME`, or one of a graph that is no
    classifier.

    Raises:
        UnknownNameError: with the nearest name; for a percentile so far out that there is no time
            for its queries, with those that there are.
    """
    percent = percentile_in(name)
    if name in METRICS:
        return METRICS[name]
    if percent is not None and is_percentile(float(percent)):
        return _latency(percent)
    of_graph = graph_metric(name)
    if of_graph is not None:
        figure, words, unit, within = of_graph
        return Metric(
            words,
            lambda measurement: _of_graph(figure, measurement),
            unit=unit,
            better="lower" if unit in ("points", "of the spread") else "higher",
            timed=False,
            hosted=False,
            within=within,
            compares=True,
        )
    if percent is not None:
        raise UnknownNameError(
            f"{where + ': ' if where else ''}the percentile of {name!r} must be from {BOUNDS}"
        )
    kind, dot, of = name.partition(".")
    if dot and of and kind in OF_ONE_CLASS:
        return _of_classes(f"{kind} of a class", kind)
    if dot and of and kind == OWN:
        return Metric(
            "a value of the run's own metric",
            better="higher",
            timed=False,
            hosted=False,
            within=(-math.inf, math.inf),
            own=True,
        )
    raise unknown_name("metric", name, [*METRICS, *_PATTERNS, *GRAPH_METRICS], where)


def _of_graph(figure: Callable[[Measurement], float | str], measurement: Measurement) -> Read:
    """A figure that another look would not change, or why there is none."""
    value = figure(measurement)
    return Missing(value) if isinstance(value, str) else Figure.exact(value)


def percentile_in(name: str) -> str | None:
    """The "99.9" of "latency_p99_9_ms"; None for another metric."""
    match = _PERCENTILE.fullmatch(name)
    return f"{float(match[1].replace('_', '.')):g}" if match else None


def read(metric: Metric, subject: Subject, name: str) -> Read:
    """A metric's figure in a measurement, or the little that an estimate has."""
    assert metric.read is not None
    if isinstance(subject, Measurement):
        return metric.read(subject)
    if name == "latency_p50_ms":
        return Figure(subject.latency_ms.value, subject.latency_ms.low, subject.latency_ms.high)
    if name == "size_mb":
        return Figure.exact(subject.bundle.model_bytes / 1e6)
    return Missing("not measured: an estimate has a median latency and a size; bench a device")


def drop(share: Figure, reference: Figure) -> Figure:
    """How far one share lies below another, with Newcombe's interval from the two of Wilson.

    The intervals are those of independent samples; on the same images, where most errors are
    shared, it is wider than it would have to be.
    """
    value = reference.value - share.value
    below = math.hypot(reference.value - reference.low, share.high - share.value)
    above = math.hypot(reference.high - reference.value, share.value - share.low)
    return Figure(value, value - below, value + above)


def quotient(over: Figure, under: Figure) -> Figure:
    """A ratio of two figures above zero, as far as their intervals let it lie."""
    return Figure(over.value / under.value, over.low / under.high, over.high / under.low)


def widened(ratio: Figure) -> Figure:
    """A ratio of two processes' figures, as far as two processes of one bundle differ anyway.

    Neither process's interval knows of that: it comes of where in memory each happens to lie, and
    of what the machine was like at the time. Only turns in fresh processes take it out.
    """
    return Figure(ratio.value, ratio.low / PROCESSES_DIFFER, ratio.high * PROCESSES_DIFFER)


def in_percent(ratio: Figure, better: Literal["lower", "higher"]) -> Figure:
    """A ratio to a reference as percent by which it is worse; below zero when it is better."""
    if better == "lower":
        return Figure(*(100 * (bound - 1) for bound in (ratio.value, ratio.low, ratio.high)))
    return Figure(*(100 * (1 - bound) for bound in (ratio.value, ratio.high, ratio.low)))
