"""Holding what was measured against a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from deploy_targets.measurement import BundleMeasured, Measurement
from foundation.errors import MissingFileError, UsageError, unknown_name
from pipeline.candidates import FULL
from pipeline.gating.evidence import Baseline, Evidence
from pipeline.gating.metrics import (
    Figure,
    Metric,
    Missing,
    Read,
    Subject,
    apart,
    drop,
    in_percent,
    metric_named,
    percentile_in,
    quotient,
    read,
)
from pipeline.gating.turns import ratio_in_turns
from pipeline.gating.verdict import (
    FAIL,
    INCONCLUSIVE,
    PASS,
    Answer,
    Basis,
    Check,
    Kind,
    Verdict,
    verdict_of,
)
from pipeline.measured import scenario_words
from pipeline.recipe import Against, GateRecipe, Limit

_MEDIAN = "50"


@dataclass(frozen=True)
class _Reference:
    """What a bundle is held against: measured, or known by its bundle alone."""

    bundle: BundleMeasured
    measurement: Measurement | None


@dataclass(frozen=True)
class _Finding:
    """What is known of a metric, and how."""

    figure: Read
    basis: Basis
    suspect: str | None = None
    reference: str | None = None
    unit: str = ""


def judge(evidence: Evidence, budget: GateRecipe, baseline: Baseline | None = None) -> Verdict:
    """Hold measurements against a budget.

    Args:
        evidence: all of a run, the teacher's measurements too.
        budget: limits by metric, and the bundles that they hold for.
        baseline: what regressions are counted from.

    Raises:
        UsageError: when the budget has no limits, or asks for what there is no baseline for.
        MissingFileError: when there is nothing to judge.
        UnknownNameError: when a metric or a bundle is unknown.
    """
    check_limits(budget)
    if baseline is None:
        _needs_no_baseline(budget)
    judge_one = _Judge(evidence, baseline)
    subjects = _judged(evidence, budget)
    return verdict_of(
        [
            check
            for one in subjects
            for metric, limit in budget.limits.items()
            for check in judge_one.checks(one, metric, limit, alone=len(subjects) == 1)
        ],
        budget.on_inconclusive,
    )


def subject_of(one: Subject) -> tuple[str, str, str, str]:
    """What its checks say that they are of: bundle, host, scenario, runtime."""
    if isinstance(one, Measurement):
        return one.bundle.name, one.host.name, scenario_words(one.scenario), one.runtime.name
    return one.bundle.name, f"estimate-{one.target}", "estimate", one.runtime


def check_limits(budget: GateRecipe, where: Callable[[str], str] = "limits.{}".format) -> None:
    """Make sure that a budget's limits make sense.

    Args:
        budget: the limits.
        where: names a metric's place.

    Raises:
        UsageError: when there are none, or a comparison is to be compared again.
        UnknownNameError: when a metric is unknown.
    """
    if not budget.limits:
        raise UsageError("the budget has no limits; write some under [gate.limits]")
    for name, limit in budget.limits.items():
        metric = metric_named(name, where(name))
        if metric.versus_teacher and limit.max_regression is not None:
            raise UsageError(
                f"{where(name)}: already compares with the teacher; give max or min, or "
                "max_regression of the metric that it is made of"
            )


def teacher_for(one: Measurement, measurements: Sequence[Measurement]) -> Measurement | None:
    """The teacher measured on the same host; in the same format and for the same target if any."""
    teachers = [
        other
        for other in measurements
        if other.bundle.role == "teacher" and other.host.name == one.host.name
    ]

    def likeness(other: Measurement) -> tuple[bool, ...]:
        ours, theirs = one.bundle, other.bundle
        return (
            other.scenario == one.scenario,
            theirs.format == ours.format,
            theirs.target == ours.target,
            other.runtime.name == one.runtime.name,
        )

    return max(teachers, key=likeness, default=None)


def full_precision_of(one: Measurement, measurements: Sequence[Measurement]) -> Measurement | None:
    """FP32 of the same network, format, target and host, in the same scenario if it was measured
    in that; None if that is what it is."""
    ours = one.bundle
    alike = [
        other
        for other in measurements
        if other.bundle.precision == FULL
        and other.host.name == one.host.name
        and (other.bundle.role, other.bundle.format, other.bundle.target)
        == (ours.role, ours.format, ours.target)
        and other.bundle.name != ours.name
    ]
    return max(alike, key=lambda other: other.scenario == one.scenario, default=None)


def _needs_no_baseline(budget: GateRecipe) -> None:
    for name, limit in budget.limits.items():
        if limit.max_regression is not None and limit.reference == "baseline":
            raise UsageError(
                f"limit {name}: max_regression against what? Give the older release with "
                '--baseline, or write against = "teacher" or "student"'
            )


def _judged(evidence: Evidence, budget: GateRecipe) -> list[Subject]:
    every: list[Subject] = [*evidence.measurements, *evidence.estimates]
    if budget.bundles is not None:
        names = {one.bundle.name for one in every}
        for name in budget.bundles:
            if name not in names:
                raise unknown_name("measured bundle", name, names, "gate.bundles")
        return [one for one in every if one.bundle.name in budget.bundles]
    students = [one for one in every if one.bundle.role == "student"]
    if not students:
        raise MissingFileError(
            "nothing to judge: no student bundle was measured; run `compress bench`"
        )
    return students


class _Judge:
    """Checks of single bundles, with what they can be held against."""

    def __init__(self, evidence: Evidence, baseline: Baseline | None) -> None:
        self._measurements = evidence.measurements
        self._baseline = baseline or Baseline()
        self._comparisons = [*evidence.comparisons, *self._baseline.comparisons]

    def checks(self, one: Subject, name: str, limit: Limit, *, alone: bool) -> list[Check]:
        """A check for each bound of a limit."""
        metric = metric_named(name)
        bounds: list[tuple[Kind, float | None]] = [("max", limit.max), ("min", limit.min)]
        found = [
            _check(one, name, self._absolute(one, metric, name), kind, bound)
            for kind, bound in bounds
            if bound is not None
        ]
        if limit.max_regression is not None:
            against = limit.reference
            finding = self._regression(one, metric, name, against, alone=alone)
            check = _check(one, name, finding, "max_regression", limit.max_regression)
            found.append(replace(check, against=against))
        return found

    def _absolute(self, one: Subject, metric: Metric, name: str) -> _Finding:
        if not isinstance(one, Measurement):
            missing = Missing("not measured: an estimate is compared with nothing; bench a device")
            figure = missing if metric.versus_teacher else read(metric, one, name)
            return _Finding(figure, "estimate")
        if metric.versus_teacher is None:
            figure = read(metric, one, name)
            return _Finding(figure, _basis_of(figure), _suspicion(metric, one))
        teacher = teacher_for(one, self._measurements)
        if teacher is None:
            return _Finding(Missing("not measured: no teacher was measured on this host"), "none")
        reference = _Reference(teacher.bundle, teacher)
        if metric.versus_teacher == "drop":
            return self._drop(one, reference)
        ratio = self._ratio(one, reference, metric_named("latency_p50_ms"), "latency_p50_ms")
        if isinstance(ratio.figure, Figure):
            return replace(ratio, figure=quotient(Figure.exact(1.0), ratio.figure))
        return ratio

    def _drop(self, one: Subject, reference: _Reference) -> _Finding:
        top1 = metric_named("top1_percent")
        ours = read(top1, one, "top1_percent")
        theirs = _read_reference(top1, reference, "top1_percent")
        name = reference.bundle.name
        if isinstance(ours, Missing) or isinstance(theirs, Missing):
            return _Finding(ours if isinstance(ours, Missing) else theirs, "none", None, name)
        return _Finding(drop(ours, theirs), "not interleaved", None, name)

    def _regression(
        self, one: Subject, metric: Metric, name: str, against: Against, *, alone: bool
    ) -> _Finding:
        if not isinstance(one, Measurement):
            reason = "not measured: an estimate is compared with nothing; bench a device"
            return _Finding(Missing(reason), "none")
        if against == "student" and one.bundle.precision == FULL:
            return _Finding(Figure.exact(0.0), "exact", None, one.bundle.name)
        reference = self._reference(one, against, alone=alone)
        if isinstance(reference, Missing):
            return _Finding(reference, "none")
        if metric.in_points:
            return replace(self._drop(one, reference), unit=" points")
        ratio = self._ratio(one, reference, metric, name)
        if isinstance(ratio.figure, Figure):
            return replace(ratio, figure=in_percent(ratio.figure, metric.better), unit=" %")
        return ratio

    def _ratio(
        self, one: Measurement, reference: _Reference, metric: Metric, name: str
    ) -> _Finding:
        """The one's figure over the reference's: from turns where there were some."""
        percent = percentile_in(name)
        known = reference.bundle.name
        if percent is not None:
            timed = ratio_in_turns(self._comparisons, one, reference.bundle, f"p{percent}")
            if timed is not None:
                return _Finding(timed, "interleaved", None, known)
        ours, theirs = read(metric, one, name), _read_reference(metric, reference, name)
        for figure in (ours, theirs):
            if isinstance(figure, Missing):
                return _Finding(figure, "none", None, known)
        assert isinstance(ours, Figure)
        assert isinstance(theirs, Figure)
        if min(ours.low, theirs.low) <= 0:
            return _Finding(Missing("not measured: of zero there is no ratio"), "none", None, known)
        doubt = None
        if reference.measurement is not None:
            doubt = _suspicion(metric, one) or _unlike(metric, one, reference.measurement)
        ratio = quotient(ours, theirs)
        if not metric.timed:
            return _Finding(ratio, "exact", doubt, known)
        return _Finding(apart(ratio), "not interleaved", doubt, known)

    def _reference(
        self, one: Measurement, against: Against, *, alone: bool
    ) -> _Reference | Missing:
        found: Measurement | None
        if against == "teacher":
            found = teacher_for(one, self._measurements)
            if found is None:
                return Missing("not measured: no teacher was measured on this host")
        elif against == "student":
            found = full_precision_of(one, self._measurements)
            if found is None:
                return Missing(
                    f"not measured: no FP32 bundle of format {one.bundle.format} was measured on "
                    "this host; export one with --precision fp32 and bench it"
                )
        elif self._baseline.bundle is not None:
            return _Reference(self._baseline.bundle, None)
        else:
            found = _of_baseline(one, self._baseline.measurements, alone=alone)
            if found is None:
                return Missing(
                    f"not measured: the baseline has no {one.bundle.name} on host "
                    f"{one.host.name}; measure the older release there"
                )
        return _Reference(found.bundle, found)


def _of_baseline(
    one: Measurement, baseline: Sequence[Measurement], *, alone: bool
) -> Measurement | None:
    """The baseline's measurement of the same name and host; the only one for the only one."""
    here = [other for other in baseline if other.host.name == one.host.name]
    alike = [other for other in here if other.bundle.name == one.bundle.name]
    same = [other for other in alike if other.scenario == one.scenario]
    if same or alike:
        return (same or alike)[0]
    return here[0] if alone and len(baseline) == len(here) == 1 else None


def _read_reference(metric: Metric, reference: _Reference, name: str) -> Read:
    if reference.measurement is not None:
        return read(metric, reference.measurement, name)
    if name == "size_mb":
        return Figure.exact(reference.bundle.model_bytes / 1e6)
    if percentile_in(name):
        return Missing(
            f"not measured: time {reference.bundle.name} in turns with `compress bench --against`, "
            "or give its measurement as the baseline"
        )
    return Missing("not measured: the baseline is a bundle alone; give its measurement")


def _basis_of(figure: Read) -> Basis:
    if isinstance(figure, Missing):
        return "none"
    return "exact" if figure.low == figure.high else "measured"


def _suspicion(metric: Metric, one: Measurement) -> str | None:
    """Why the measurement decides nothing about a metric; None if it does."""
    if not metric.timed or one.validity.verdict == "valid":
        return None
    return f"{one.bundle.name} is suspect: {'; '.join(one.validity.reasons)}"


def _unlike(metric: Metric, one: Measurement, other: Measurement) -> str | None:
    """Why two measurements cannot be compared; None if they can."""
    doubt = _suspicion(metric, other)
    if doubt or not metric.timed:
        return doubt
    for what, ours, theirs in (
        ("CPU", one.host.facts.cpu, other.host.facts.cpu),
        ("number of threads", one.runtime.threads, other.runtime.threads),
        ("scenario", one.scenario, other.scenario),
    ):
        if ours != theirs:
            return (
                f"{other.bundle.name} was measured with another {what} ({theirs}, here {ours}), "
                "so that a difference says nothing of the bundles; measure it here"
            )
    return None


def _check(one: Subject, name: str, finding: _Finding, kind: Kind, limit: float) -> Check:
    is_measured = isinstance(one, Measurement)
    figure = finding.figure
    found = figure if isinstance(figure, Figure) else None
    answer, reason = _answer(finding, kind, limit)
    bundle, host, scenario, runtime = subject_of(one)
    return Check(
        bundle=bundle,
        host=host,
        scenario=scenario,
        runtime=runtime,
        metric=name,
        kind=kind,
        limit=limit,
        reference=finding.reference,
        value=found.value if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        basis=finding.basis if found else "none",
        verdict=answer,
        reason=f"an estimate, not a measurement: {reason}" if not is_measured else reason,
        repeatable=is_measured and metric_named(name).timed,
    )


def _answer(finding: _Finding, kind: Kind, limit: float) -> tuple[Answer, str]:
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
    return INCONCLUSIVE, f"{words}: {limit:g} lies within what is uncertain; measure longer"


def _keeps(value: float, kind: Kind, limit: float) -> bool:
    return value >= limit if kind == "min" else value <= limit


def _words(figure: Figure, finding: _Finding) -> str:
    if figure.low == figure.high:
        return f"{_number(figure.value)}{finding.unit}"
    how = f", {finding.basis}" if "interleaved" in finding.basis else ""
    bounds = f"{_number(figure.low)} to {_number(figure.high)}"
    return f"{_number(figure.value)}{finding.unit} ({bounds}{how})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
