"""Holding what was measured against a budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from deploy_targets.measurement import Measurement
from foundation.errors import MissingFileError, UsageError, unknown_name
from pipeline.exporting.candidates import FULL
from pipeline.gating.answering import MetricReading, check_for
from pipeline.gating.class_metrics import class_drop_reading, class_reading
from pipeline.gating.evidence import Baseline, Evidence
from pipeline.gating.graph_limits import own_limits
from pipeline.gating.labels import LabelsKnown, check_classes
from pipeline.gating.metrics import (
    OF_ONE_CLASS,
    Figure,
    Metric,
    Missing,
    Read,
    Subject,
    drop,
    in_percent,
    metric_named,
    quotient,
    read,
)
from pipeline.gating.own_metric import OwnValues, own_drop_reading, own_reading
from pipeline.gating.ratios import ratio_between
from pipeline.gating.references import (
    Reference,
    baseline_measurement_for,
    drop_on_the_same_images,
    full_precision_of,
    read_reference,
    suspicion_of,
    teacher_for,
)
from pipeline.gating.sustained_metric import sustained_reading
from pipeline.gating.verdict import (
    Basis,
    Check,
    Kind,
    Verdict,
    verdict_of,
)
from pipeline.recipe.sections.gate import Against, GateRecipe, Limit


def judge(evidence: Evidence, budget: GateRecipe, baseline: Baseline | None = None) -> Verdict:
    """Hold measurements against a budget.

    Args:
        evidence: all of a run, the teacher's measurements too.
        budget: limits by metric, and the bundles that they hold for.
        baseline: what regressions are counted from.

    A graph that is no classifier is held to limits of its own besides: see `own_limits`.

    Raises:
        UsageError: when there are no limits, or one asks for what there is no baseline for.
        MissingFileError: when there is nothing to judge.
        UnknownNameError: when a metric, a class or a bundle is unknown.
    """
    if budget.limits or not any(map(own_limits, evidence.measurements)):
        check_limits(budget)
    of_classes = [name for name in budget.limits if metric_named(name).by_class in OF_ONE_CLASS]
    names = LabelsKnown(evidence.runs).names() if of_classes else None
    if names is not None:
        check_classes(of_classes, names)
    if baseline is None:
        _check_baseline_is_not_needed(budget)
    checker = _Judge(evidence, baseline)
    subjects = _subjects(evidence, budget)
    return verdict_of(
        [
            check
            for subject in subjects
            for metric, limit in (own_limits(subject) | budget.limits).items()
            for check in checker.checks(subject, metric, limit, alone=len(subjects) == 1)
        ],
        budget.on_inconclusive,
    )


def check_limits(budget: GateRecipe, where: Callable[[str], str] = "limits.{}".format) -> None:
    """Make sure that a budget's limits make sense.

    Args:
        budget: the limits.
        where: names a metric's place.

    Raises:
        UsageError: when there are none, a comparison is to be compared again, or a limit is one
            that no figure could keep, or none could break.
        UnknownNameError: when a metric is unknown.
    """
    if not budget.limits:
        raise UsageError("the budget has no limits; write some under [gate.limits]")
    for name, limit in budget.limits.items():
        metric = metric_named(name, where(name))
        if metric.by_class == "worst" and limit.max_regression is not None:
            raise UsageError(
                f"{where(name)}: max_regression is of the class that lost most; write it as "
                "worst_class_drop_points"
            )
        compares = metric.versus_teacher in ("drop", "speedup")
        if compares and limit.max_regression is not None:
            raise UsageError(
                f"{where(name)}: already compares with the teacher; give max or min, or "
                "max_regression of the metric that it is made of"
            )
        if metric.sustained and limit.max_regression is not None:
            raise UsageError(
                f"{where(name)}: is held to no reference, for a machine gets as warm as its room "
                "lets it; give max or min, not max_regression"
            )
        if metric.compares and limit.max_regression is not None:
            raise UsageError(
                f"{where(name)}: already compares with the original; give max or min, not "
                "max_regression"
            )
        _check_range(metric, limit, where(name))


def _check_range(metric: Metric, limit: Limit, place: str) -> None:
    """Make sure that figures could lie on either side of a limit."""
    if limit.min is not None and limit.max is not None and limit.min > limit.max:
        raise UsageError(
            f"{place}: min = {limit.min:g} is above max = {limit.max:g}; nothing keeps both"
        )
    breakable = False
    for key, bound, (lowest, highest) in (
        ("max", limit.max, metric.within),
        ("min", limit.min, metric.within),
        ("max_regression", limit.max_regression, metric.regressions_within),
    ):
        if bound is None:
            continue
        if not lowest <= bound <= highest:
            raise UsageError(
                f"{place}: {key} = {bound:g} makes no sense, for every figure of it lies between "
                f"{lowest:g} and {highest:g}"
            )
        breakable = breakable or (bound > lowest if key == "min" else bound < highest)
    if not breakable:
        raise UsageError(f"{place}: every figure keeps that limit, so it limits nothing")


def _check_baseline_is_not_needed(budget: GateRecipe) -> None:
    for name, limit in budget.limits.items():
        if limit.max_regression is not None and limit.reference == "baseline":
            raise UsageError(
                f"limit {name}: max_regression against what? Give the older release with "
                '--baseline, or write against = "teacher" or "student"'
            )


def _subjects(evidence: Evidence, budget: GateRecipe) -> list[Subject]:
    subjects: list[Subject] = [*evidence.measurements, *evidence.estimates]
    if budget.bundles is not None:
        names = {subject.bundle.name for subject in subjects}
        for name in budget.bundles:
            if name not in names:
                raise unknown_name("measured bundle", name, names, "gate.bundles")
        return [subject for subject in subjects if subject.bundle.name in budget.bundles]
    students = [subject for subject in subjects if subject.bundle.role == "student"]
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
        self._sustained = evidence.sustained
        self._labels = LabelsKnown([*evidence.runs, *self._baseline.runs])
        self._own, self._own_before = OwnValues(evidence.runs), OwnValues(self._baseline.runs)

    def checks(self, subject: Subject, name: str, limit: Limit, *, alone: bool) -> list[Check]:
        """A check for each bound of a limit."""
        metric = metric_named(name)
        bounds: list[tuple[Kind, float | None]] = [("max", limit.max), ("min", limit.min)]
        checks = [
            check_for(subject, name, self._absolute(subject, metric, name), kind, bound)
            for kind, bound in bounds
            if bound is not None
        ]
        if limit.max_regression is not None:
            against = limit.reference
            finding = self._regression(subject, metric, name, against, alone=alone)
            check = check_for(subject, name, finding, "max_regression", limit.max_regression)
            checks.append(replace(check, against=against))
        return checks

    def _absolute(self, subject: Subject, metric: Metric, name: str) -> MetricReading:
        if not isinstance(subject, Measurement):
            missing = Missing("not measured: an estimate is compared with nothing; bench a device")
            figure = missing if metric.read is None else read(metric, subject, name)
            return MetricReading(figure, "estimate")
        if metric.sustained:
            return sustained_reading(subject, self._sustained)
        if metric.versus_teacher is None and metric.of_answers:
            return self._of_answers(subject, metric, name)
        if metric.versus_teacher is None:
            figure = read(metric, subject, name)
            return MetricReading(figure, _basis_of(figure), suspicion_of(metric, subject))
        return self._versus_teacher(subject, metric, name)

    def _versus_teacher(self, measurement: Measurement, metric: Metric, name: str) -> MetricReading:
        teacher = teacher_for(measurement, self._measurements, anywhere=not metric.hosted)
        if teacher is None:
            return MetricReading(_no_teacher(metric), "none")
        reference = Reference(teacher.bundle, teacher)
        if metric.versus_teacher == "drop":
            return self._drop(measurement, reference, "top1_percent")
        if metric.versus_teacher == "class drop":
            return class_drop_reading(name, measurement, reference, self._labels)
        ratio = ratio_between(measurement, reference, self._comparisons, "latency_p50_ms")
        if isinstance(ratio.figure, Figure):
            return replace(ratio, figure=quotient(Figure.exact(1.0), ratio.figure))
        return ratio

    def _of_answers(self, measurement: Measurement, metric: Metric, name: str) -> MetricReading:
        if metric.own:
            return own_reading(name, measurement.bundle.name, self._own)
        return class_reading(name, measurement, self._labels)

    def _drop(self, measurement: Measurement, reference: Reference, share_of: str) -> MetricReading:
        metric = metric_named(share_of)
        share = read(metric, measurement, share_of)
        reference_share = read_reference(metric, reference, share_of)
        name = reference.bundle.name
        if isinstance(share, Missing):
            return MetricReading(share, "none", None, name)
        if isinstance(reference_share, Missing):
            return MetricReading(reference_share, "none", None, name)
        if reference.measurement is not None:
            of: Literal["accuracy", "agreement"] = (
                "accuracy" if share_of == "top1_percent" else "agreement"
            )
            difference = drop_on_the_same_images(measurement, reference.measurement, of)
            if difference is not None:
                return MetricReading(difference, "same images", None, name)
        return MetricReading(drop(share, reference_share), "measured", None, name)

    def _regression(
        self, subject: Subject, metric: Metric, name: str, against: Against, *, alone: bool
    ) -> MetricReading:
        if not isinstance(subject, Measurement):
            reason = "not measured: an estimate is compared with nothing; bench a device"
            return MetricReading(Missing(reason), "none")
        if against == "student" and subject.bundle.precision == FULL:
            return MetricReading(Figure.exact(0.0), "exact", None, subject.bundle.name)
        reference = self._reference(subject, metric, against, alone=alone)
        if isinstance(reference, Missing):
            return MetricReading(reference, "none")
        if metric.own:
            before = self._own_before if against == "baseline" else self._own
            names = subject.bundle.name, reference.bundle.name
            return own_drop_reading(name, *names, self._own, before)
        return self._fallen(subject, reference, metric, name)

    def _fallen(
        self, measurement: Measurement, reference: Reference, metric: Metric, name: str
    ) -> MetricReading:
        """By how much a figure is worse than the reference's: points, or percent of it."""
        if metric.by_class:
            return class_drop_reading(name, measurement, reference, self._labels)
        if metric.in_points:
            return replace(self._drop(measurement, reference, name), unit=" points")
        ratio = ratio_between(measurement, reference, self._comparisons, name)
        if isinstance(ratio.figure, Figure):
            return replace(ratio, figure=in_percent(ratio.figure, metric.better), unit=" %")
        return ratio

    def _reference(
        self, measurement: Measurement, metric: Metric, against: Against, *, alone: bool
    ) -> Reference | Missing:
        reference: Measurement | None
        if against == "teacher":
            reference = teacher_for(measurement, self._measurements, anywhere=not metric.hosted)
            if reference is None:
                return _no_teacher(metric)
        elif against == "student":
            reference = full_precision_of(
                measurement, self._measurements, anywhere=not metric.hosted
            )
            if reference is None:
                return Missing(
                    f"not measured: no FP32 bundle of format {measurement.bundle.format} was "
                    f"measured{' on this host' if metric.hosted else ''}; export one with "
                    "--precision fp32 and bench it"
                )
        elif self._baseline.bundle is not None:
            return Reference(self._baseline.bundle, None)
        else:
            reference = baseline_measurement_for(
                measurement, self._baseline.measurements, alone=alone
            )
            if reference is None:
                return Missing(
                    f"not measured: the baseline has no {measurement.bundle.name} on host "
                    f"{measurement.host.name}; measure the older release there"
                )
        return Reference(reference.bundle, reference)


def _basis_of(figure: Read) -> Basis:
    if isinstance(figure, Missing):
        return "none"
    return "exact" if figure.low == figure.high else "measured"


def _no_teacher(metric: Metric) -> Missing:
    where = " on this host" if metric.hosted else ""
    return Missing(f"not measured: no teacher was measured{where}; bench its bundle too")
