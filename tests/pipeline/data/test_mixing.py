from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.data.mixing import Mixing, drawn_mixing, mixed, mixed_labels
from pipeline.recipe.sections.data import AugmentRecipe

BLACK, WHITE = torch.zeros(2, 3, 10, 20), torch.ones(2, 3, 10, 20)


def draw(number: int, mix: str = "mixup", alpha: float = 1.0, seed: int = 0, epoch: int = 0):
    return drawn_mixing(seed, epoch, number, AugmentRecipe(mix=mix, mix_alpha=alpha))


class TestWhatIsDrawn:
    def test_is_a_function_of_seed_epoch_and_batch(self) -> None:
        first = draw(3, seed=1, epoch=2)
        assert draw(3, seed=1, epoch=2) == first
        assert first not in (draw(4, seed=1, epoch=2), draw(3, seed=2, epoch=2), draw(3, seed=1))

    def test_keeps_a_share_as_beta_gives_it(self) -> None:
        for alpha, variance in ((1.0, 1 / 12), (0.2, 0.25 / 1.4)):
            keeps = np.array([draw(number, alpha=alpha).keep for number in range(3000)])
            assert abs(keeps.mean() - 0.5) < 0.03
            assert abs(keeps.var() - variance) < 0.01

    def test_has_a_share_of_its_own_for_mixup(self) -> None:
        recipe = AugmentRecipe(mix="mixup+cutmix", mix_alpha=1.0, mixup_alpha=0.1)
        draws = [drawn_mixing(0, 0, number, recipe) for number in range(4000)]
        for cut, alpha in ((False, 0.1), (True, 1.0)):
            keeps = np.array([each.keep for each in draws if each.cut is cut])
            assert abs(keeps.var() - 0.25 / (2 * alpha + 1)) < 0.01

    @pytest.mark.parametrize(("mix", "share"), [("mixup", 0), ("cutmix", 1), ("mixup+cutmix", 0.5)])
    def test_is_the_kind_that_was_asked_for(self, mix: str, share: float) -> None:
        cuts = np.mean([draw(number, mix).cut for number in range(1000)])
        assert abs(cuts - share) < (0.05 if share == 0.5 else 1e-9)

    def test_puts_boxes_everywhere_and_apart_from_their_size(self) -> None:
        draws = [draw(number, "cutmix") for number in range(2000)]
        numbers = np.array([[one.keep, *one.centre] for one in draws])
        assert (numbers.min(0) < 0.01).all()
        assert (numbers.max(0) > 0.99).all()
        assert abs(np.corrcoef(numbers.T) - np.eye(3)).max() < 0.06


class TestMixUp:
    def test_blends_each_image_with_its_partner(self) -> None:
        images, keep = mixed(WHITE, BLACK, Mixing(False, 0.3, (0.5, 0.5)))
        torch.testing.assert_close(images, 0.3 * WHITE)
        assert keep == 0.3


class TestCutMix:
    def test_pastes_a_box_of_the_partner_and_tells_its_true_area(self) -> None:
        # √(1 − 0.75) = half of each side, around the middle.
        images, keep = mixed(WHITE, BLACK, Mixing(True, 0.75, (0.5, 0.5)))
        expected = WHITE.clone()
        expected[:, :, 2:8, 5:15] = 0
        assert images.shape == expected.shape
        assert abs(keep - images.mean().item()) < 1e-6
        assert keep == pytest.approx(0.75, abs=0.06)
        assert (images[:, :, 4:6, 6:14] == 0).all()
        assert (images[:, :, :2] == 1).all()
        assert (images[:, :, :, :5] == 1).all()

    def test_a_box_beyond_the_border_counts_as_far_as_it_is_seen(self) -> None:
        images, keep = mixed(WHITE, BLACK, Mixing(True, 0.75, (0.0, 0.0)))
        assert keep == pytest.approx(images.mean().item(), abs=1e-6)
        assert 0.9 < keep < 0.96
        assert (images[:, :, 0, 0] == 0).all()
        assert (images[:, :, -1, -1] == 1).all()

    @pytest.mark.parametrize(("keep", "expected"), [(0.0, 0.0), (1.0, 1.0)])
    def test_all_and_nothing(self, keep: float, expected: float) -> None:
        images, kept = mixed(WHITE, BLACK, Mixing(True, keep, (0.5, 0.5)))
        assert images.mean().item() == kept == expected

    def test_leaves_the_originals_as_they_are(self) -> None:
        images = WHITE.clone()
        mixed(images, BLACK, Mixing(True, 0.5, (0.5, 0.5)))
        assert (images == 1).all()


def test_labels_become_probabilities_with_the_images_shares() -> None:
    soft = mixed_labels(torch.tensor([0, 2, 1]), torch.tensor([2, 2, 0]), 0.75, 4)
    expected = torch.tensor([[0.75, 0, 0.25, 0], [0, 0, 1, 0], [0.25, 0.75, 0, 0]])
    torch.testing.assert_close(soft, expected)
    assert soft.dtype == torch.float32
