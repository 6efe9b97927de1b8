from __future__ import annotations

import numpy as np
import pytest
import torch

from foundation.bundle import Preprocessing
from pipeline.data.batches import EvaluationBatches, TrainBatches
from pipeline.data.images import ArrayImages
from pipeline.recipe import AugmentRecipe

PLAIN = Preprocessing(4, 4, 1, [0.0], [1.0])


def numbered(count: int) -> ArrayImages:
    """Images that can be told apart by their label, which is their number."""
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((4, 4, 1), np.uint8)
    return ArrayImages(pixels, np.arange(count))


def train(count: int = 21, batch_size: int = 8, seed: int = 0, **augment: int) -> TrainBatches:
    return TrainBatches(numbered(count), PLAIN, AugmentRecipe(**augment), batch_size, seed)


def order_of(batches: TrainBatches, epoch: int) -> list[int]:
    batches.set_epoch(epoch)
    return [int(label) for _, labels in batches for label in labels]


def test_every_image_comes_once_an_epoch_with_its_own_label() -> None:
    batches = train()
    assert sorted(order_of(batches, 0)) == list(range(21))
    for images, labels in batches:
        torch.testing.assert_close(images[:, 0, 0, 0] * 255, labels.float())


def test_the_order_changes_with_the_epoch_and_repeats_with_it() -> None:
    batches = train()
    first, second = order_of(batches, 0), order_of(batches, 1)
    assert first != second
    assert first != list(range(21))
    assert order_of(batches, 0) == first
    assert order_of(train(), 1) == second


def test_the_order_changes_with_the_seed() -> None:
    assert order_of(train(seed=1), 0) != order_of(train(seed=2), 0)


def test_views_change_with_the_epoch_and_repeat_with_it() -> None:
    batches = train(shift=2)

    def views(epoch: int) -> dict[int, torch.Tensor]:
        batches.set_epoch(epoch)
        return {int(y): x for images, ys in batches for x, y in zip(images, ys, strict=True)}

    first = views(0)
    assert all(torch.equal(first[i], view) for i, view in views(0).items())
    assert not all(torch.equal(first[i], view) for i, view in views(1).items())


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [(21, 8, [7, 7, 7]), (17, 8, [6, 6, 5]), (16, 8, [8, 8]), (3, 8, [3]), (130, 32, [26] * 5)],
)
def test_batches_are_even_so_that_none_is_left_with_an_image_or_two(
    count: int, batch_size: int, sizes: list[int]
) -> None:
    batches = train(count, batch_size)
    assert [len(labels) for _, labels in batches] == sizes
    assert len(batches) == len(sizes)


def test_images_are_prepared_as_the_bundle_will_prepare_them() -> None:
    preprocessing = Preprocessing(4, 4, 1, [0.25], [0.5])
    batches = EvaluationBatches(
        ArrayImages(np.full((1, 4, 4, 1), 255, np.uint8), np.array([0])), preprocessing
    )
    ((images, labels),) = batches
    torch.testing.assert_close(images, torch.full((1, 1, 4, 4), 1.5))
    assert labels.tolist() == [0]
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)


def test_evaluation_gives_all_images_once_in_order_and_unvaried() -> None:
    images = ArrayImages(
        np.random.default_rng(0).integers(0, 256, (300, 4, 4, 1), np.uint8), np.arange(300)
    )
    batches = EvaluationBatches(images, PLAIN)
    assert [len(labels) for _, labels in batches] == [256, 44]
    assert len(batches) == 2
    torch.testing.assert_close(
        torch.cat([x for x, _ in batches]), torch.from_numpy(PLAIN.apply(images.pixels))
    )
    assert torch.cat([y for _, y in batches]).tolist() == list(range(300))
