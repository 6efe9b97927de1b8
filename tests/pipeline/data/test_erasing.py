from __future__ import annotations

import itertools

import numpy as np

from pipeline.data.draws import Purpose, numbers
from pipeline.data.erasing import drawn_box, erase

IDS = np.arange(400)


def erased(probability: float, seed: int = 0, view: int = 0, ids: np.ndarray = IDS) -> np.ndarray:
    images = np.ones((len(ids), 40, 30, 3), np.float32)
    erase(images, ids, seed, view, probability)
    return images


def test_a_box_is_a_function_of_seed_sample_and_view() -> None:
    once = erased(0.5, 1, 2)
    np.testing.assert_array_equal(erased(0.5, 1, 2), once)
    some = np.array([41, 3, 17])
    np.testing.assert_array_equal(erased(0.5, 1, 2, some), once[some])
    for seed, view in ((2, 2), (1, 3)):
        assert (erased(0.5, seed, view) != once).any()


def test_the_share_that_loses_a_box_is_the_probability() -> None:
    assert (erased(0.0) == 1).all()
    touched = (erased(0.25) == 0).any((1, 2, 3)).mean()
    assert 0.18 < touched < 0.32
    assert (erased(1.0) == 0).any((1, 2, 3)).mean() > 0.99


def test_what_is_erased_is_one_box_of_all_channels_within_the_bounds_of_area() -> None:
    shares = []
    for image in erased(1.0) == 0:
        rows, columns, _ = np.nonzero(image)
        box = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert box.all()
        shares.append(box[..., 0].sum() / 1200)
    assert 0.015 < min(shares) < 0.05
    assert 0.29 < max(shares) < 0.35


def test_boxes_reach_every_corner() -> None:
    images = np.ones((2000, 8, 8, 1), np.float32)
    erase(images, np.arange(2000), 0, 0, 1.0)
    gone = (images == 0).any(3)
    for row, column in itertools.product((0, -1), repeat=2):
        assert gone[:, row, column].any()


def test_a_box_worked_out_by_hand() -> None:
    # 2 % + 0.5 × 31 % of 100 × 100 pixels, as high as 0.3 × (3.3 ÷ 0.3)^0.5 = 0.995 of its width.
    draws = iter([0.5, 0.5, 0.5, 0.25])
    assert drawn_box(draws, 100, 100) == (29, 14, 71, 56)


def test_what_fits_nowhere_is_left_out() -> None:
    assert drawn_box(numbers(0, 0, 0, Purpose.ERASING), 1, 1) is None
