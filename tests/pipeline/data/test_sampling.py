"""Which images an epoch has, where rare classes are drawn more often."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foundation.bundle import Preprocessing
from pipeline.data.batches import TrainBatches
from pipeline.data.images import ArrayImages
from pipeline.data.sampling import drawn_ids, drawn_shares
from pipeline.recipe.sections.data import AugmentRecipe

# 90 images of class 0, 10 of class 1, none of class 2, 20 of class 3.
LABELS = np.repeat([0, 1, 3], [90, 10, 20])
SHAPE = Preprocessing(8, 8, 1, [0.0], [1.0])


def drawn(sampling, labels=LABELS, seed: int = 0):
    ids = drawn_ids(labels, sampling, np.random.default_rng(seed))
    return ids % len(labels), ids // len(labels)


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (None, [90 / 120, 10 / 120, 0, 20 / 120]),
        ("balanced", [1 / 3, 1 / 3, 0, 1 / 3]),
        ("sqrt", [9.48683 / 17.12125, 3.16228 / 17.12125, 0, 4.47214 / 17.12125]),
    ],
)
def test_shares_by_hand(sampling, expected: list[float]) -> None:
    assert drawn_shares(LABELS, sampling, 4) == pytest.approx(expected, abs=1e-5)


def test_without_a_word_each_image_comes_once_in_the_order_of_before() -> None:
    expected = np.random.default_rng([3, 5]).permutation(120)
    assert np.array_equal(drawn_ids(LABELS, None, np.random.default_rng([3, 5])), expected)


@pytest.mark.parametrize(
    ("sampling", "counts"), [("balanced", (40, 40, 40)), ("sqrt", (67, 22, 31))]
)
def test_an_epoch_has_as_many_images_as_ever_and_each_class_its_share(sampling, counts) -> None:
    ids, _ = drawn(sampling)
    assert len(ids) == 120
    assert tuple(np.bincount(LABELS[ids], minlength=4)[[0, 1, 3]]) == counts


def test_images_of_a_class_are_drawn_as_often_as_each_other() -> None:
    times = np.bincount(drawn("balanced")[0], minlength=120)
    assert set(times[:90]) == {0, 1}
    assert set(times[90:100]) == {4}
    assert set(times[100:]) == {2}


def test_the_copies_of_an_image_are_numbered() -> None:
    ids, copies = drawn("balanced")
    assert sorted(copies[ids == 95]) == [0, 1, 2, 3]
    assert set(copies[ids < 90]) == {0}


def test_each_epoch_leaves_out_other_images_of_a_common_class() -> None:
    first, again, other = (set(drawn("balanced", seed=seed)[0]) for seed in (0, 0, 1))
    assert first == again != other


def test_images_without_a_label_come_once_each() -> None:
    labels = np.r_[LABELS, np.full(7, -1)]
    ids, _ = drawn("balanced", labels)
    assert np.array_equal(np.bincount(ids, minlength=127)[120:], np.ones(7))
    assert drawn_shares(labels, "balanced", 4).sum() == pytest.approx(1)


def batches(views: int | None = None) -> TrainBatches:
    pixels = np.random.default_rng(0).integers(0, 256, (120, 8, 8, 1), dtype=np.uint8)
    augment = AugmentRecipe(shift=3)
    images = ArrayImages(pixels, LABELS)
    return TrainBatches(images, SHAPE, augment, 40, 0, classes=4, sampling="balanced", views=views)


def copies_of(batches: TrainBatches, number: int) -> torch.Tensor:
    found = [batch.images[batch.ids == number] for batch in batches]
    return torch.cat(found)


def test_a_rare_image_is_seen_otherwise_each_time() -> None:
    copies = copies_of(batches(), 95)
    assert len(copies) == 4
    assert len({tuple(copy.flatten().tolist()) for copy in copies}) > 1


def test_in_fixed_views_it_is_one_and_the_same() -> None:
    copies = copies_of(batches(views=2), 95)
    assert len(copies) == 4
    assert len({tuple(copy.flatten().tolist()) for copy in copies}) == 1


def test_batches_tell_the_shares_as_they_are_drawn() -> None:
    assert batches().class_shares == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
