from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms.v2 import functional as F

from pipeline.data.augment import augmented
from pipeline.data.draws import Purpose, numbers
from pipeline.data.jitter import jittered
from pipeline.recipe.sections.data import AugmentRecipe

IDS = np.arange(200)


def grey(value: int, count: int = 200) -> np.ndarray:
    return np.full((count, 4, 4, 3), value, np.uint8)


def test_brightness_reaches_its_bounds_both_ways_and_evenly() -> None:
    views = augmented(grey(100), IDS, 0, 0, AugmentRecipe(brightness=0.4))[:, 0, 0, 0]
    assert 60 <= views.min() < 63
    assert 137 < views.max() <= 140
    assert abs(views.mean() - 100) < 4


def test_what_is_darker_than_black_is_black() -> None:
    views = augmented(grey(100), IDS, 0, 0, AugmentRecipe(brightness=2.0))[:, 0, 0, 0]
    assert views.min() < 10
    assert views.max() == 255
    # All of the way from nought to three times as light is as likely.
    assert abs((views < 150).mean() - 0.5) < 0.1


def test_greys_keep_their_hue_and_saturation() -> None:
    recipe = AugmentRecipe(hue=0.5, saturation=0.9)
    np.testing.assert_array_equal(augmented(grey(77), IDS, 0, 0, recipe), grey(77))


def test_hue_and_saturation_change_colours() -> None:
    red = np.tile(np.array([200, 20, 20], np.uint8), (200, 4, 4, 1))
    for settings in ({"hue": 0.3}, {"saturation": 0.8}):
        assert (augmented(red, IDS, 0, 0, AugmentRecipe(**settings)) != red).any(
            (1, 2, 3)
        ).mean() > 0.9


def test_the_four_changes_come_in_a_drawn_order_with_drawn_strengths() -> None:
    recipe = AugmentRecipe(brightness=0.3, contrast=0.4, saturation=0.5, hue=0.1)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    picture, orders = Image.fromarray(pixels), set()
    for sample in range(200):
        draws = list(islice(numbers(0, sample, 0, Purpose.COLOURS), 8))
        order = sorted(range(4), key=draws.__getitem__)
        orders.add(tuple(order))
        expected = picture
        for strength, kind in zip(draws[4:], order, strict=True):
            adjust, bound, base = [
                (F.adjust_brightness, 0.3, 1), (F.adjust_contrast, 0.4, 1),
                (F.adjust_saturation, 0.5, 1), (F.adjust_hue, 0.1, 0),
            ][kind]  # fmt: skip
            expected = adjust(expected, base - bound + 2 * bound * strength)
        result = jittered(picture, numbers(0, sample, 0, Purpose.COLOURS), recipe)
        np.testing.assert_array_equal(np.asarray(result), np.asarray(expected))
    assert len(orders) == 24


def test_no_change_is_no_change() -> None:
    np.testing.assert_array_equal(augmented(grey(9), IDS, 0, 0, AugmentRecipe()), grey(9))


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_images_are_taken_too(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (200, 6, 5, channels), dtype=np.uint8)
    recipe = AugmentRecipe(brightness=0.3, contrast=0.4, saturation=0.5, hue=0.1)
    views = augmented(images, IDS, 0, 0, recipe)
    assert views.shape == images.shape
    assert (views != images).any()
