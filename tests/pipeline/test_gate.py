from __future__ import annotations

import math
from dataclasses import replace

import pytest

from deploy_targets.device.facts import Facts
from deploy_targets.device.messages import (
    Accuracy,
    ExecutedPrecision,
    Latency,
    Memory,
    Parity,
    RuntimeUsed,
    Startup,
    Throughput,
)
from deploy_targets.measurement import BundleMeasured, HostMeasured, Measurement
from foundation.errors import MissingFileError, UnknownNameError, UsageError
from pipeline.gate import METRICS, judge, teacher_for
from pipeline.recipe import GateRecipe, Limit

FACTS = Facts("a cpu", None, "x86_64", 2, 2, 4096, [], None, None, None, None, "3", "Linux")


def measured(
    name: str = "local-onnx-int8",
    *,
    role: str = "student",
    target: str = "local",
    export_format: str = "onnx",
    host: str = "local",
    p50: float | None = 2.0,
    top1: float | None = 0.9,
    peak: float | None = 80.0,
) -> Measurement:
    """A measurement whose figures are easy to reckon with."""
    return Measurement(
        bundle=BundleMeasured(name, role, target, export_format, "int8", 1_500_000, "0" * 64),
        host=HostMeasured(host, FACTS),
        runtime=RuntimeUsed("onnxruntime", "1", 1, "f32", ExecutedPrecision("int8", {"int8": 9})),
        latency_ms=Latency(p50, 3.0, 4.0, None, 2.5, 1.0, 9.0, 60, 20),
        throughput=Throughput(16, 800.0),
        memory_mb=Memory(peak, 30.0),
        startup_ms=Startup(10.0, 20.0, 3.0),
        accuracy=None if top1 is None else Accuracy(top1, 360),
        parity=Parity(0.1, 0.01, 1.0, 32),
        seconds=3.0,
        started_at="2026-01-01T00:00:00+00:00",
    )


STUDENT = measured()
TEACHER = measured("local-teacher-onnx-fp32", role="teacher", p50=5.0, top1=0.95)


def budget(metric: str, **limit: float) -> GateRecipe:
    return GateRecipe(limits={metric: Limit(**limit)})


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("latency_p50_ms", 2.0),
        ("latency_p90_ms", 3.0),
        ("latency_p95_ms", 4.0),
        ("throughput_ips", 800.0),
        ("peak_memory_mb", 80.0),
        ("size_mb", 1.5),
        ("top1_percent", 90.0),
        ("drop_vs_teacher_points", 5.0),
        ("speedup_vs_teacher", 2.5),
    ],
)
def test_a_limit_is_kept_at_its_value_and_broken_just_beyond(metric: str, value: float) -> None:
    both = [STUDENT, TEACHER]
    above, below = math.nextafter(value + 1e-9, 1e9), math.nextafter(value - 1e-9, -1e9)
    (check,) = judge(both, budget(metric, max=above)).checks
    assert check.passed
    assert check.value == pytest.approx(value)
    assert (check.bundle, check.host, check.metric) == ("local-onnx-int8", "local", metric)
    assert not judge(both, budget(metric, max=below)).passed
    assert judge(both, budget(metric, min=below)).passed
    assert not judge(both, budget(metric, min=above)).passed


def test_a_limit_with_both_ends_is_two_checks_and_the_value_itself_keeps_both() -> None:
    verdict = judge([STUDENT], budget("size_mb", max=1.5, min=1.5))
    assert [check.kind for check in verdict.checks] == ["max", "min"]
    assert verdict.passed


@pytest.mark.parametrize(
    ("metric", "one"),
    [
        ("latency_p99_ms", STUDENT),
        ("latency_p50_ms", measured(p50=None)),
        ("top1_percent", measured(top1=None)),
        ("peak_memory_mb", measured(peak=None)),
        ("drop_vs_teacher_points", STUDENT),
        ("speedup_vs_teacher", STUDENT),
    ],
)
def test_a_figure_that_was_not_measured_keeps_no_limit(metric: str, one: Measurement) -> None:
    for limit in ({"max": 1e9}, {"min": -1e9}):
        (check,) = judge([one], budget(metric, **limit)).checks
        assert not check.passed
        assert check.value is None
        assert check.reason == "not measured"


def test_one_broken_limit_fails_the_whole_and_says_why() -> None:
    rules = GateRecipe(limits={"size_mb": Limit(max=2.0), "latency_p50_ms": Limit(max=1.0)})
    verdict = judge([STUDENT], rules)
    assert [check.passed for check in verdict.checks] == [True, False]
    said = verdict.as_dict()
    assert said["verdict"] == "fail"
    assert [check["reason"] for check in said["checks"]] == ["1.5 ≤ 2", "2 is not ≤ 1"]


def test_every_student_bundle_is_judged_and_no_teacher() -> None:
    other = measured("local-openvino-int8", export_format="openvino")
    verdict = judge([STUDENT, other, TEACHER], budget("size_mb", max=9.0))
    assert [check.bundle for check in verdict.checks] == ["local-onnx-int8", "local-openvino-int8"]


def test_a_budget_may_name_the_bundles_it_holds_for_the_teacher_too() -> None:
    rules = GateRecipe(bundles=[TEACHER.bundle.name], limits={"size_mb": Limit(max=9.0)})
    assert [check.bundle for check in judge([STUDENT, TEACHER], rules).checks] == [
        "local-teacher-onnx-fp32"
    ]


def test_an_unknown_metric_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"gate\.limits: .*did you mean 'latency_p95_ms'"):
        judge([STUDENT], budget("latency_p95", max=1.0))


def test_an_unknown_bundle_is_told_with_the_nearest() -> None:
    rules = GateRecipe(bundles=["local-onnx-int9"], limits={"size_mb": Limit(max=9.0)})
    with pytest.raises(UnknownNameError, match="did you mean 'local-onnx-int8'"):
        judge([STUDENT], rules)


def test_a_budget_without_limits_is_no_budget() -> None:
    with pytest.raises(UsageError, match="no limits"):
        judge([STUDENT], GateRecipe())


def test_without_a_measured_student_there_is_nothing_to_pass() -> None:
    with pytest.raises(MissingFileError, match="compress bench"):
        judge([TEACHER], budget("size_mb", max=9.0))


def test_every_metric_is_told_of_in_words() -> None:
    assert all(words for words, _ in METRICS.values())


class TestTheTeacherToCompareWith:
    def test_is_of_the_same_format(self) -> None:
        other = measured("local-teacher-openvino-fp32", role="teacher", export_format="openvino")
        student = measured("local-openvino-int8", export_format="openvino")
        assert teacher_for(student, [TEACHER, other, student]) is other
        assert teacher_for(STUDENT, [other, TEACHER, student]) is TEACHER

    def test_is_of_another_format_where_there_is_no_other(self) -> None:
        assert teacher_for(measured(export_format="openvino"), [TEACHER]) is TEACHER

    def test_was_measured_on_the_same_host(self) -> None:
        elsewhere = replace(TEACHER, host=HostMeasured("ssh://pi", FACTS))
        assert teacher_for(STUDENT, [elsewhere]) is None
        assert teacher_for(STUDENT, [elsewhere, TEACHER]) is TEACHER

    def test_was_made_for_the_same_target_where_there_are_several(self) -> None:
        for_pi = measured("rpi5-teacher-onnx-fp32", role="teacher", target="rpi5")
        student = measured("rpi5-onnx-int8", target="rpi5")
        assert teacher_for(student, [TEACHER, for_pi]) is for_pi
        assert teacher_for(STUDENT, [for_pi, TEACHER]) is TEACHER

    def test_is_of_the_same_format_rather_than_for_the_same_target(self) -> None:
        for_pi = measured(role="teacher", target="rpi5", export_format="openvino")
        assert teacher_for(measured(target="rpi5"), [for_pi, TEACHER]) is TEACHER
