"""Agreement with the teacher, on images without labels: counted, judged, and never an accuracy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deploy_targets.device.checks import accuracy_in_parts
from deploy_targets.device.messages import Counted
from deploy_targets.measurement import Measurement
from pipeline.gating.evidence import Evidence
from pipeline.gating.judging import judge
from pipeline.recipe.sections.gate import GateRecipe
from pipeline.shown.measurements import measured_table

METRIC = "teacher_agreement_percent"
# Four images with labels, then six without: 1 says as the label, or the teacher, has it.
RIGHT = np.array([1, 1, 0, 1, 1, 0, 1, 0, 1, 1], np.uint8)


def counted(right: np.ndarray) -> list[Counted]:
    parts = right[:7], right[7:]
    return [Counted(np.packbits(part).tobytes().hex(), len(part)) for part in parts]


def agreeing(measurement: Measurement, right: np.ndarray, start: int = 4) -> Measurement:
    accuracy, agreement = accuracy_in_parts(counted(right), ("0" * 64, "1" * 64), start)
    return replace(measurement, accuracy=accuracy, agreement=agreement)


def check(measurements: list[Measurement], **limit: object):
    budget = GateRecipe(limits={METRIC: limit}, bundles=[measurements[0].bundle.name])
    (found,) = judge(Evidence(measurements), budget).checks
    return found


def test_labels_and_the_teachers_answers_are_told_apart() -> None:
    accuracy, agreement = accuracy_in_parts(counted(RIGHT), ("0" * 64, "1" * 64), 4)
    assert accuracy is not None and agreement is not None
    assert (accuracy.top1, accuracy.n) == (3 / 4, 4)
    assert (agreement.top1, agreement.n) == (4 / 6, 6)
    assert accuracy.labels_sha256 != agreement.labels_sha256
    assert accuracy_in_parts(counted(RIGHT), ("0" * 64, "1" * 64), 0)[0] is None


def test_agreement_is_judged_by_wilsons_interval(student) -> None:
    # 4 of 6: 30.0 to 90.3 %, from the published formula.
    one = agreeing(student, RIGHT)
    found = check([one], min=29.9)
    assert found.verdict == "pass"
    assert (found.low, found.high) == pytest.approx((30.0, 90.3), abs=0.05)
    assert check([one], min=50.0).verdict == "inconclusive"
    assert check([one], min=91.0).verdict == "fail"


def test_where_no_image_is_without_a_label_there_is_none(student) -> None:
    found = check([student], min=1.0)
    assert found.verdict == "fail" and "no images without labels" in found.reason


def test_it_is_held_against_fp32_image_by_image(measured) -> None:
    fp32 = agreeing(measured("local-onnx-fp32", precision="fp32"), RIGHT)
    fewer = RIGHT.copy()
    fewer[4] = 0  # one less that agrees; labels are another matter
    fewer[:4] = 0
    int8 = agreeing(measured(), fewer)
    found = check([int8, fp32], max_regression=50.0, against="student")
    assert found.basis == "same images"
    assert found.value == pytest.approx(100 / 6)  # points


def test_the_table_has_a_column_of_its_own(student) -> None:
    assert "as the teacher %" not in measured_table([student]).heads
    table = measured_table([agreeing(student, RIGHT, start=0)])
    row = dict(zip(table.heads, map(str, table.rows[0]), strict=True))
    assert row["top-1 %"] == "–"
    assert row["as the teacher %"].startswith("70.00")
