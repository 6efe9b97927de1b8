from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from pipeline.data.augment import augmented
from pipeline.recipe.sections import AugmentRecipe

POLICIES = ["randaugment", "trivialaugment"]
IDS = np.arange(60)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 16, 12, 3), dtype=np.uint8)


@pytest.mark.parametrize("policy", POLICIES)
class TestAPolicy:
    def test_is_a_function_of_seed_sample_and_view_alone(self, images, policy: str) -> None:
        recipe = AugmentRecipe(policy=policy)
        once = augmented(images, IDS, 1, 2, recipe)
        # Whatever else draws numbers, from whatever generator.
        random.seed(9)
        np.random.seed(9)
        torch.manual_seed(9)
        np.testing.assert_array_equal(augmented(images, IDS, 1, 2, recipe), once)
        some = np.array([41, 3, 17])
        np.testing.assert_array_equal(augmented(images[some], some, 1, 2, recipe), once[some])
        for seed, view in ((2, 2), (1, 3)):
            assert (augmented(images, IDS, seed, view, recipe) != once).any()

    def test_leaves_the_generators_as_they_were(self, images, policy: str) -> None:
        before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
        augmented(images, IDS, 0, 0, AugmentRecipe(policy=policy))
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1] == before[1]).all()
        assert random.getstate() == before[2]

    def test_varies_images_each_in_its_own_way(self, images, policy: str) -> None:
        same = np.repeat(images[:1], 60, axis=0)
        views = augmented(same, IDS, 0, 0, AugmentRecipe(policy=policy))
        assert len(np.unique(views.reshape(60, -1), axis=0)) > 20

    def test_takes_grey_images(self, images, policy: str) -> None:
        views = augmented(images[..., :1], IDS, 0, 0, AugmentRecipe(policy=policy))
        assert (views.shape, views.dtype) == ((60, 16, 12, 1), np.uint8)
        assert (views != images[..., :1]).any()

    def test_leaves_the_original_as_it_is(self, images, policy: str) -> None:
        before = images.copy()
        augmented(images, IDS, 0, 0, AugmentRecipe(policy=policy))
        np.testing.assert_array_equal(images, before)


def changed_pixels(images: np.ndarray, **settings: int) -> float:
    views = augmented(images, IDS, 0, 0, AugmentRecipe(policy="randaugment", **settings))
    return float(np.abs(views.astype(int) - images).mean())


def test_magnitude_and_operations_make_randaugment_stronger(images) -> None:
    smooth = np.sort(images, axis=1)
    assert changed_pixels(smooth, magnitude=1) < changed_pixels(smooth, magnitude=25)
    assert changed_pixels(smooth, operations=1) < changed_pixels(smooth, operations=4)


def test_the_two_policies_differ(images) -> None:
    first, second = (augmented(images, IDS, 0, 0, AugmentRecipe(policy=p)) for p in POLICIES)
    assert (first != second).any()
