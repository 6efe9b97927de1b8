from __future__ import annotations

import numpy as np
import pytest

from pipeline.data.augment import _rotated, augmented
from pipeline.recipe.sections.data import AugmentRecipe

EVERYTHING = AugmentRecipe(shift=3, flip=True, rotate=20.0, policy="randaugment")
IDS = np.arange(40)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (40, 12, 10, 3), dtype=np.uint8)


def test_a_view_is_a_function_of_seed_sample_and_view(images) -> None:
    once = augmented(images, IDS, 3, 5, EVERYTHING)
    np.testing.assert_array_equal(once, augmented(images.copy(), IDS.copy(), 3, 5, EVERYTHING))
    for seed, view in ((4, 5), (3, 6)):
        assert (augmented(images, IDS, seed, view, EVERYTHING) != once).any()


def test_a_view_does_not_depend_on_the_batch_it_is_drawn_in(images) -> None:
    whole = augmented(images, IDS, 3, 5, EVERYTHING)
    some = np.array([31, 2, 17])
    np.testing.assert_array_equal(augmented(images[some], some, 3, 5, EVERYTHING), whole[some])


def test_samples_are_varied_each_in_its_own_way() -> None:
    same = np.repeat(np.random.default_rng(0).integers(1, 256, (1, 12, 12, 1), np.uint8), 40, 0)
    views = augmented(same, IDS, 0, 0, EVERYTHING)
    assert len(np.unique(views.reshape(40, -1), axis=0)) > 35


def test_the_original_is_left_as_it_is(images) -> None:
    before = images.copy()
    augmented(images, IDS, 0, 0, EVERYTHING)
    np.testing.assert_array_equal(images, before)


def test_with_nothing_to_vary_the_images_come_back(images) -> None:
    np.testing.assert_array_equal(augmented(images, IDS, 0, 0, AugmentRecipe()), images)


def test_a_flip_mirrors_exactly_about_half_of_the_images() -> None:
    ids = np.arange(2000)
    images = np.random.default_rng(0).integers(0, 256, (2000, 2, 3, 1), dtype=np.uint8)
    views = augmented(images, ids, 1, 0, AugmentRecipe(flip=True))
    mirrored = (views == images[:, :, ::-1]).all((1, 2, 3))
    untouched = (views == images).all((1, 2, 3))
    assert (mirrored | untouched).all()
    assert 900 < mirrored.sum() < 1100


def test_a_shift_moves_by_every_offset_up_to_its_bound_and_fills_with_zeros() -> None:
    ids = np.arange(1000)
    images = np.zeros((1000, 9, 9, 1), np.uint8)
    images[:, 4, 4] = 255
    views = augmented(images, ids, 1, 0, AugmentRecipe(shift=2))
    assert (views.sum((1, 2, 3)) == 255).all()
    rows, columns = np.nonzero(views[..., 0])[1:]
    offsets = set(zip((rows - 4).tolist(), (columns - 4).tolist(), strict=True))
    assert offsets == {(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)}


def test_a_shift_drops_what_leaves_the_image() -> None:
    full = np.full((200, 6, 6, 1), 9, np.uint8)
    views = augmented(full, np.arange(200), 1, 0, AugmentRecipe(shift=6))
    assert set(np.unique(views)) == {0, 9}
    assert views.shape == full.shape


def test_a_shift_cuts_a_window_of_whole_pixels_out_of_the_padded_image(images) -> None:
    views = augmented(images, IDS, 1, 0, AugmentRecipe(shift=2))
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    for view, image in zip(views, padded, strict=True):
        windows = [image[y : y + 12, x : x + 10] for y in range(5) for x in range(5)]
        assert sum((view == window).all() for window in windows) == 1


def test_whether_it_is_mirrored_says_nothing_of_where_it_is_shifted() -> None:
    images = np.zeros((2000, 9, 9, 2), np.uint8)
    images[:, 4, 4, 0], images[:, 4, 5, 1] = 1, 1  # the second channel's dot is to the right
    views = augmented(images, np.arange(2000), 1, 0, AugmentRecipe(shift=2, flip=True))
    rows, columns = np.nonzero(views[..., 0])[1:]
    mirrored = np.nonzero(views[..., 1])[2] < columns
    across = np.where(mirrored, 4 - columns, columns - 4)
    assert abs(np.corrcoef(mirrored, rows)[0, 1]) < 0.08
    assert abs(np.corrcoef(mirrored, across)[0, 1]) < 0.08


def test_a_turn_of_nought_changes_nothing(images) -> None:
    np.testing.assert_array_equal(_rotated(images, np.zeros(40)), images)


def test_a_quarter_turn_is_a_quarter_turn() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    turned = _rotated(image, np.array([90.0])).astype(int)
    quarter = [np.rot90(image[0], k).astype(int) for k in (1, 3)]
    assert min(abs(turned[0] - one).max() for one in quarter) <= 1


def test_turns_stay_within_their_bound_and_go_both_ways() -> None:
    ids = np.arange(200)
    bar = np.zeros((200, 33, 33, 1), np.uint8)
    bar[:, 16, 16:] = 255
    views = augmented(bar, ids, 0, 0, AugmentRecipe(rotate=30.0)).astype(float)[..., 0]
    y, x = np.mgrid[:33, :33] - 16.0
    weight = views.sum((1, 2))
    centre_y, centre_x = (views * y).sum((1, 2)) / weight, (views * x).sum((1, 2)) / weight
    degrees = np.rad2deg(np.arctan2(centre_y, centre_x))
    assert abs(degrees).max() < 31
    assert degrees.min() < -25
    assert degrees.max() > 25
