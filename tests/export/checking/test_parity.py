from __future__ import annotations

import math

import numpy as np
import pytest

from export.checking.parity import TOLERANCES, ExportParity, check, check_between_batches, compare
from foundation.errors import ExportError

REFERENCE = np.array([[4.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.0, 1.0]], np.float32)


def test_equal_logits_agree_fully() -> None:
    assert compare(REFERENCE, REFERENCE) == ExportParity(0.0, 0.0, 1.0, 4, 200.0)


def test_the_numbers_are_those_worked_out_by_hand() -> None:
    outputs = REFERENCE.copy()
    outputs[2] = [1.0, 1.5]  # error 1.5, largest reference 4, and another class
    # Halved differences of the classes: 2, -1, 0.5, -0.5, twice each; around their mean of 0.25
    # the squares make 10.5, times 4/3 for so few images. The error: 1.5, so twice 0.75 squared.
    decibels = 10 * math.log10(10.5 * 4 / 3 / 1.125)
    assert compare(REFERENCE, outputs) == ExportParity(1.5, 0.375, 0.75, 4, pytest.approx(decibels))


def test_logits_of_zero_do_not_divide_by_zero() -> None:
    zero = np.zeros((2, 3), np.float32)
    assert compare(zero, zero).relative_error == 0.0
    assert np.isfinite(compare(zero, zero + 1).relative_error)


@pytest.mark.parametrize("precision", TOLERANCES)
def test_an_answer_to_zeros_that_is_not_zero_is_no_parity(precision: str) -> None:
    zero = np.zeros((2, 3), np.float32)
    tiny = np.full_like(zero, np.finfo(np.float32).smallest_subnormal)
    tiny[:, 0] = 0
    with pytest.raises(ExportError):
        check(compare(zero, tiny), precision, "bundle")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused(bad: float) -> None:
    outputs = REFERENCE.copy()
    outputs[0, 0] = bad
    with pytest.raises(ExportError, match="exported model gave logits that are not finite, where"):
        compare(REFERENCE, outputs)
    with pytest.raises(ExportError, match="original gave logits that are not finite"):
        compare(outputs, REFERENCE)


def test_other_shapes_and_no_images_are_refused() -> None:
    with pytest.raises(ExportError, match=r"\(4, 2\).*\(3, 2\)"):
        compare(REFERENCE, REFERENCE[:3])
    with pytest.raises(ExportError, match="probe images"):
        compare(REFERENCE[:0], REFERENCE[:0])


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_an_error_at_the_tolerance_passes_and_one_past_it_raises(precision: str) -> None:
    limit = TOLERANCES[precision].relative_error
    check(ExportParity(1.0, limit, 1.0, 8), precision, "bundle")
    with pytest.raises(ExportError, match=f"^bundle: {precision} logits differ"):
        check(ExportParity(1.0, limit * 1.01, 1.0, 8), precision, "bundle")


@pytest.mark.parametrize("precision", ["int8", "a-new-one"])
def test_int8_and_unlisted_precisions_are_held_to_agreement_and_signal(precision: str) -> None:
    limit = TOLERANCES["int8"].signal_to_noise_db
    check(ExportParity(9.0, 0.9, 0.8, 10, limit), precision, "bundle")
    with pytest.raises(ExportError, match="70% of 10 probe images"):
        check(ExportParity(0.0, 0.0, 0.7, 10, limit), precision, "bundle")
    with pytest.raises(ExportError, match=r"^bundle: .* tell 5\.9 dB .* at least 6 dB"):
        check(ExportParity(0.0, 0.0, 1.0, 10, limit - 0.1), precision, "bundle")


def logits(seed: int, images: int = 20) -> np.ndarray:
    """As a network gives them: an image's own, and much that all images share."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, 8, (1, 10))
    return (shared + rng.normal(0, 2, (images, 10))).astype(np.float32)


def test_what_knows_nothing_of_the_images_has_no_signal() -> None:
    """Though most of the logits' size is shared by all images, and 95 % of it would be right."""
    reference = logits(0)
    constant = np.repeat(reference.mean(axis=0, keepdims=True), len(reference), axis=0)
    for outputs in (constant, np.zeros_like(reference), logits(1), reference[::-1].copy()):
        assert compare(reference, outputs).signal_to_noise_db < 1.0


def test_noise_of_a_tenth_of_the_signal_is_twenty_decibels() -> None:
    reference = logits(0, images=2000)
    noise = np.random.default_rng(5).normal(0, 0.2, reference.shape).astype(np.float32)
    found = compare(reference, reference + noise).signal_to_noise_db
    assert found == pytest.approx(20.0, abs=0.3)


def test_what_softmax_ignores_is_no_error() -> None:
    reference = logits(0)
    shifted = reference + np.arange(len(reference), dtype=np.float32)[:, None]
    assert compare(reference, shifted).signal_to_noise_db > 100.0


def test_one_image_is_judged_by_its_classes() -> None:
    reference = logits(0, images=1)
    assert compare(reference, reference * 0.9).signal_to_noise_db == pytest.approx(20.0, abs=0.1)
    assert compare(reference, -reference).signal_to_noise_db < 0.0


def test_a_model_that_says_the_same_of_every_image_tells_nothing() -> None:
    same = np.ones((4, 3), np.float32) * [1, 2, 3]
    assert compare(same.astype(np.float32), logits(0, 4)[:, :3]).signal_to_noise_db == -200.0


def test_answers_that_hang_on_the_batch_are_refused_and_rounding_is_not() -> None:
    rng = np.random.default_rng(0)
    alone = rng.normal(size=(40, 4)).astype(np.float32)
    wrong = alone.copy()
    wrong[20:] = rng.normal(size=(20, 4))  # as if the kernel had read the wrong scale
    with pytest.raises(ExportError, match="b: answers the same images otherwise together than one"):
        check_between_batches({"one by one": alone, "together": wrong}, "int8", "b")
    rounded = alone + rng.normal(scale=0.01, size=alone.shape).astype(np.float32)
    assert 0 < check_between_batches({"one by one": alone, "together": rounded}, "int8", "b") < 0.1
    with pytest.raises(ExportError, match="together"):  # what INT8 may, FP32 may not
        check_between_batches({"one by one": alone, "together": rounded}, "fp32", "b")
