"""Agreement of logits, against values worked out by hand."""

import json
import math

import numpy as np
import pytest

from foundation.agreement import Agreement, agreement_of


def floats(rows):
    return np.array(rows, np.float32)


def test_equal_logits_have_no_error():
    logits = floats([[1, 2], [4, 3]])
    assert agreement_of(logits, logits) == Agreement(0.0, 0.0, 1.0, 2)


def test_errors_are_the_largest_difference_and_its_share_of_the_largest_logit():
    outputs = floats([[1, 2], [4, 3.5], [0, -2]])
    agreement = agreement_of(floats([[2.5, 2], [4, 3], [0, -5]]), outputs)
    assert agreement == Agreement(3.0, pytest.approx(3 / 5), pytest.approx(2 / 3), 3)


def test_zeros_agree_with_zeros():
    assert agreement_of(floats([[0, 0]]), floats([[0, -0.0]])).relative_error == 0.0


@pytest.mark.parametrize("value", [1e-45, 1e-30, 1.0, 3e38])
def test_an_answer_to_zeros_that_is_not_zero_is_further_off_than_anything_may_be(value):
    error = agreement_of(floats([[0, 0]]), floats([[value, 0]])).relative_error
    assert error >= 1
    assert math.isfinite(error)
    json.dumps(error, allow_nan=False)


def test_a_difference_that_float32_cannot_hold_is_finite():
    assert agreement_of(floats([[3e38]]), floats([[-3e38]])).relative_error == pytest.approx(2)
