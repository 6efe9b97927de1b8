from __future__ import annotations

import numpy as np
import pytest

from export.parity import TOLERANCES, Parity, check, compare
from foundation.errors import ExportError

REFERENCE = np.array([[4.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.0, 1.0]], np.float32)


def test_equal_logits_agree_fully() -> None:
    assert compare(REFERENCE, REFERENCE) == Parity(0.0, 0.0, 1.0, 4)


def test_the_numbers_are_those_worked_out_by_hand() -> None:
    outputs = REFERENCE.copy()
    outputs[2] = [1.0, 1.5]  # error 1.5, largest reference 4, and another class
    assert compare(REFERENCE, outputs) == Parity(1.5, 0.375, 0.75, 4)


def test_logits_of_zero_do_not_divide_by_zero() -> None:
    zero = np.zeros((2, 3), np.float32)
    assert compare(zero, zero).relative_error == 0.0
    assert np.isfinite(compare(zero, zero + 1).relative_error)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused(bad: float) -> None:
    outputs = REFERENCE.copy()
    outputs[0, 0] = bad
    with pytest.raises(ExportError, match="exported model gave logits that are not finite"):
        compare(REFERENCE, outputs)
    with pytest.raises(ExportError, match="original gave logits that are not finite"):
        compare(outputs, REFERENCE)


def test_other_shapes_and_no_images_are_refused() -> None:
    with pytest.raises(ExportError, match=r"\(4, 2\).*\(3, 2\)"):
        compare(REFERENCE, REFERENCE[:3])
    with pytest.raises(ExportError, match="probe images"):
        compare(REFERENCE[:0], REFERENCE[:0])


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_error_at_the_tolerance_passes_and_one_past_it_raises(precision: str) -> None:
    limit = TOLERANCES[precision].relative_error
    check(Parity(1.0, limit, 1.0, 8), precision, "bundle")
    with pytest.raises(ExportError, match=f"^bundle: {precision} logits differ"):
        check(Parity(1.0, limit * 1.01, 1.0, 8), precision, "bundle")


@pytest.mark.parametrize("precision", ["int8", "a-new-one"])
def test_int8_and_unlisted_precisions_are_held_to_agreement(precision: str) -> None:
    check(Parity(9.0, 0.9, 0.8, 10), precision, "bundle")
    with pytest.raises(ExportError, match="70% of 10 probe images"):
        check(Parity(0.0, 0.0, 0.7, 10), precision, "bundle")
