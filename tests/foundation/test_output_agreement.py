"""How far an output is from the original's: figures worked out by hand."""

import math

import numpy as np
import pytest

from foundation.output_agreement import (
    OutputTolerance,
    output_agreement,
    output_tolerance,
    tolerance_problems,
)


def floats(*rows):
    return [np.array(row, np.float32) for row in rows]


def whole(*rows):
    return [np.array(row, np.int64) for row in rows]


def test_errors_of_floats_are_the_largest_and_its_share_of_the_spread():
    found = output_agreement("x", floats([0, 4], [2, 8]), floats([0, 4], [2, 6]))
    assert found.max_abs_error == 2.0
    assert found.relative_error == pytest.approx(2 / 8)  # from 0 to 8
    assert found.same_shape == 1.0
    assert found.equal is None


def test_the_signal_is_what_differs_between_samples():
    # Around the means 1 and 6: (1, 2) twice, 10 in all, and 2/1 for the mean's own share: 20.
    found = output_agreement("x", floats([0, 4], [2, 8]), floats([1, 4], [2, 7]))
    assert found.signal_to_noise_db == pytest.approx(10 * math.log10(20 / 2))


def test_an_output_that_says_the_same_of_all_samples_is_judged_by_what_differs_within():
    # 0 and 4 lie 2 from their mean, twice: 16; the error is 1.
    found = output_agreement("x", floats([0, 4], [0, 4]), floats([0, 4], [1, 4]))
    assert found.signal_to_noise_db == pytest.approx(10 * math.log10(16))


def test_one_number_is_judged_by_itself():
    found = output_agreement("x", floats(10.0), floats(11.0))
    assert found.relative_error == pytest.approx(0.1)
    assert found.signal_to_noise_db == pytest.approx(20)
    assert found.cosine == 1.0


def test_the_cosine_is_that_of_all_numbers_as_one_vector():
    found = output_agreement("x", floats([1, 0], [0, 0]), floats([1, 1], [0, 0]))
    assert found.cosine == pytest.approx(1 / math.sqrt(2))


def test_no_error_at_all_is_200_decibels():
    found = output_agreement("x", floats([1, 2]), floats([1, 2]))
    assert (found.signal_to_noise_db, found.relative_error) == (200.0, 0.0)


def test_of_whole_numbers_the_share_that_is_equal_counts():
    found = output_agreement("x", whole([1, 2], [3, 4]), whole([1, 2], [3, 5]))
    assert found.equal == 0.75
    assert found.max_abs_error is None


def test_whole_numbers_of_another_shape_are_not_equal():
    found = output_agreement("x", whole([1, 2], [3, 4]), whole([1, 2], [3]))
    assert (found.same_shape, found.equal) == (0.5, 0.5)


def test_an_output_without_numbers_agrees_with_another():
    found = output_agreement("x", whole([], [1]), whole([], [1]))
    assert (found.same_shape, found.equal) == (1.0, 1.0)
    empty = np.zeros((0, 4), np.float32)
    assert output_agreement("boxes", [empty], [empty]).relative_error == 0.0


def test_errors_are_of_the_samples_whose_shape_is_the_originals():
    found = output_agreement("x", floats([0, 4], [2, 8]), floats([0, 4.4], [2]))
    assert found.same_shape == 0.5
    assert found.max_abs_error == pytest.approx(0.4)
    none = output_agreement("x", floats([0, 4]), floats([0]))
    assert (none.same_shape, none.max_abs_error) == (0.0, None)


def test_infinity_that_the_original_has_too_is_no_error():
    masked = floats([-np.inf, 1])
    assert output_agreement("x", masked, masked).max_abs_error == 0.0
    with pytest.raises(ValueError, match="output 'x' has infinite or undefined numbers"):
        output_agreement("x", floats([0, 1]), floats([np.nan, 1]))
    with pytest.raises(ValueError, match="infinite or undefined"):
        output_agreement("x", masked, floats([np.inf, 1]))


def problems(reference, outputs, **limits):
    agreement = output_agreement("x", reference, outputs)
    return list(tolerance_problems(agreement, OutputTolerance(**limits)))


def test_what_a_tolerance_is_not_kept_by_is_told():
    limits = {"relative_error": 0.1, "equal": 0.9, "signal_to_noise_db": 20.0}
    good, bad = floats([0, 4], [2, 8]), floats([0, 4], [2, 6])
    assert problems(good, good, **limits) == []
    assert problems(good, bad, **limits) == [
        "tells 7.0 dB of the original's over its error, at least 20 dB are needed"
    ]
    loose = limits | {"signal_to_noise_db": None}
    assert problems(good, bad, **loose) == [
        "differs by 2.5e-01 of the original's spread, allowed are 1e-01"
    ]
    assert problems(whole([1, 2]), whole([1, 3]), **limits) == [
        "has 50.0% of the original's whole numbers, at least 90% are needed"
    ]
    assert problems(good, floats([0, 4], [2]), **limits) == [
        "has another shape than the original's for 50% of 2 samples"
    ]


def test_a_precision_that_nobody_knows_is_held_to_that_of_int8():
    assert output_tolerance("int4") == output_tolerance("int8")
