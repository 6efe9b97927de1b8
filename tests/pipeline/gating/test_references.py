"""What a bundle is held against."""

from __future__ import annotations

from dataclasses import replace

from deploy_targets.measurement import HostMeasured
from pipeline.gating.references import full_precision_of, teacher_for


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
