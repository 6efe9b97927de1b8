"""What a bundle is held against."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy_targets.measurement import HostMeasured
from pipeline.gating.evidence import Baseline, Evidence
from pipeline.gating.judging import judge
from pipeline.gating.references import drop_on_the_same_images, full_precision_of, teacher_for
from pipeline.recipe.sections.gate import GateRecipe, Limit


class TestTheTeacherToCompareWith:
    def test_is_of_the_same_format(self, measured, teacher, student) -> None:
        other = measured("local-teacher-openvino-fp32", role="teacher", format="openvino")
        openvino = measured("local-openvino-int8", format="openvino")
        assert teacher_for(openvino, [teacher, other, openvino]) is other
        assert teacher_for(student, [other, teacher, openvino]) is teacher

    def test_is_of_another_format_where_there_is_no_other(self, measured, teacher) -> None:
        assert teacher_for(measured(format="openvino"), [teacher]) is teacher

    def test_was_measured_on_the_same_host(self, student, teacher) -> None:
        elsewhere = replace(teacher, host=HostMeasured("ssh://pi", teacher.host.facts))
        assert teacher_for(student, [elsewhere]) is None
        assert teacher_for(student, [elsewhere, teacher]) is teacher

    def test_may_be_on_another_host_for_what_does_not_hang_on_it(self, student, teacher) -> None:
        elsewhere = replace(teacher, host=HostMeasured("ssh://pi", teacher.host.facts))
        assert teacher_for(student, [elsewhere], anywhere=True) is elsewhere
        assert teacher_for(student, [elsewhere, teacher], anywhere=True) is teacher
        limits = {"drop_vs_teacher_points": Limit(max=90), "speedup_vs_teacher": Limit(min=0.1)}
        checks = judge(Evidence([student, elsewhere]), GateRecipe(limits=limits)).checks
        assert [one.verdict for one in checks] == ["pass", "fail"]
        assert "no teacher was measured on this host" in checks[1].reason

    def test_was_made_for_the_same_target_where_there_are_several(
        self, measured, teacher, student
    ) -> None:
        for_pi = measured("rpi5-teacher-onnx-fp32", role="teacher", target="rpi5")
        on_pi = measured("rpi5-onnx-int8", target="rpi5")
        assert teacher_for(on_pi, [teacher, for_pi]) is for_pi
        assert teacher_for(student, [for_pi, teacher]) is teacher


def test_full_precision_is_of_the_same_network_format_target_and_host(measured, student) -> None:
    alike = measured("local-onnx-fp32", precision="fp32")
    others = [
        measured("a", precision="fp32", format="openvino"),
        measured("b", precision="fp32", target="rpi5"),
        measured("c", precision="fp32", host="ssh://pi"),
        measured("d", precision="fp32", role="teacher"),
    ]
    assert full_precision_of(student, [*others, alike]) is alike
    assert full_precision_of(student, others) is None
    assert full_precision_of(alike, [alike]) is None


def answered(measured, wrong: set[int], n: int = 12, labels: str | None = "digest"):
    bits = "".join("01"[i not in wrong] for i in range(n)).ljust(-(-n // 8) * 8, "0")
    right = f"{int(bits, 2):0{len(bits) // 4}x}"
    one = measured()
    accuracy = replace(
        one.accuracy, top1=1 - len(wrong) / n, n=n, right=right, labels_sha256=labels
    )
    return replace(one, accuracy=accuracy)


def test_a_drop_is_counted_image_by_image(measured) -> None:
    before, now = answered(measured, {0, 11}), answered(measured, {0, 3, 4, 5})
    found = drop_on_the_same_images(now, before)
    assert found is not None
    assert found.value == pytest.approx(100 * (3 - 1) / 12)
    assert found.low < found.value < found.high
    back = drop_on_the_same_images(before, now)
    assert (back.value, back.low, back.high) == pytest.approx(
        (-found.value, -found.high, -found.low)
    )


def test_a_gate_goes_by_the_images_of_which_two_bundles_differ(measured) -> None:
    # Two accuracies of 360 images are uncertain by some 3 points; of these images two differ.
    before, now = answered(measured, {1}, n=360), answered(measured, {1, 2, 3}, n=360)
    rules = GateRecipe(limits={"top1_percent": Limit(max_regression=2)})
    (check,) = judge(Evidence([now]), rules, Baseline([before])).checks
    assert (check.verdict, check.basis) == ("pass", "same images")
    assert check.value == pytest.approx(100 * 2 / 360)


@pytest.mark.parametrize("labels", [None, "others"])
def test_answers_to_other_images_are_not_compared(measured, labels) -> None:
    before = answered(measured, {0}, labels=labels)
    assert drop_on_the_same_images(answered(measured, {1}), before) is None
    assert drop_on_the_same_images(measured(), answered(measured, {1})) is None
    assert drop_on_the_same_images(measured(top1=None), answered(measured, {1})) is None
