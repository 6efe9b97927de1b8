"""What is known of a limit, made into an answer and a reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deploy_targets.measurement import Measurement, scenario_words
from pipeline.gating.metrics import Figure, Metric, Missing, Read, Subject, metric_named
from pipeline.gating.verdict import FAIL, INCONCLUSIVE, PASS, Answer, Basis, Check, Kind

_COMPARED: frozenset[Basis] = frozenset({"interleaved", "not interleaved", "same images"})


@dataclass(frozen=True)
class MetricReading:
    """What is known of a metric, and how."""

    figure: Read
    basis: Basis
    suspect: str | None = None
    reference: str | None = None
    unit: str = ""


def subject_of(subject: Subject) -> tuple[str, str, str, str]:
    """What its checks say that they are of: bundle, host, scenario, runtime."""
    if isinstance(subject, Measurement):
        return (
            subject.bundle.name,
            subject.host.name,
            scenario_words(subject.scenario),
            subject.runtime.name,
        )
    return subject.bundle.name, f"estimate-{subject.target}", "estimate", subject.runtime


def check_for(
    subject: Subject, name: str, finding: MetricReading, kind: Kind, limit: float
) -> Check:
    is_measured = isinstance(subject, Measurement)
    reading = finding.figure
    figure = reading if isinstance(reading, Figure) else None
    metric = metric_named(name)
    answer, reason = _answer(finding, kind, limit, _advice(metric))
    bundle, host, scenario, runtime = subject_of(subject)
    return Check(
        bundle=bundle,
        host=host,
        scenario=scenario,
        runtime=runtime,
        metric=name,
        kind=kind,
        limit=limit,
        reference=finding.reference,
        value=figure.value if figure else None,
        low=figure.low if figure else None,
        high=figure.high if figure else None,
        basis=finding.basis if figure else "none",
        verdict=answer,
        reason=f"an estimate, not a measurement: {reason}" if not is_measured else reason,
        # Measuring again takes seconds; what took half an hour is for a person to ask for again.
        repeatable=is_measured and (metric.timed or metric.hosted) and not metric.sustained,
    )


def _answer(finding: MetricReading, kind: Kind, limit: float, advice: str) -> tuple[Answer, str]:
    figure = finding.figure
    if isinstance(figure, Missing):
        return (INCONCLUSIVE if figure.undecided else FAIL), figure.reason
    words = _words(figure, finding)
    if finding.suspect:
        return INCONCLUSIVE, f"{finding.suspect} ({words})"
    keeps: Literal["≤", "≥"] = "≥" if kind == "min" else "≤"
    best, worst = (figure.high, figure.low) if kind == "min" else (figure.low, figure.high)
    if _keeps(worst, kind, limit):
        return PASS, f"{words} {keeps} {limit:g}"
    if not _keeps(best, kind, limit):
        return FAIL, f"{words} is not {keeps} {limit:g}"
    return INCONCLUSIVE, f"{words}: {limit:g} lies within what is uncertain; {advice}"


def _advice(metric: Metric) -> str:
    """What to do where a limit lies within the interval."""
    if metric.timed:
        return "measure longer"
    more = "more processes (measure longer)" if metric.hosted else "more test images"
    return f"{more}, or a looser limit would tell"


def _keeps(value: float, kind: Kind, limit: float) -> bool:
    return value >= limit if kind == "min" else value <= limit


def _words(figure: Figure, finding: MetricReading) -> str:
    if figure.low == figure.high:
        return f"{_number(figure.value)}{finding.unit}"
    how = f", {finding.basis}" if finding.basis in _COMPARED else ""
    bounds = f"{_number(figure.low)} to {_number(figure.high)}"
    return f"{_number(figure.value)}{finding.unit} ({bounds}{how})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
