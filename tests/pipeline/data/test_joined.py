"""Labelled images and those without labels, as one set and in one epoch."""

from __future__ import annotations

import numpy as np
import pytest

from foundation.bundle import Preprocessing
from foundation.labels import UNLABELLED
from pipeline.data.batches import TrainBatches
from pipeline.data.framing import Fit
from pipeline.data.images import ArrayImages
from pipeline.data.joined import Joined
from pipeline.recipe.sections.data import AugmentRecipe

SHAPE = Preprocessing(height=8, width=8, channels=1, mean=[0.5], std=[0.5])


def images(count: int, label: int, side: int = 8) -> ArrayImages:
    random = np.random.default_rng(count)
    pixels = random.integers(0, 256, (count, side, side, 1), np.uint8)
    return ArrayImages(pixels, np.full(count, label, np.int64))


def batches(labelled: int, others: int, share: float | None, **augment: object) -> TrainBatches:
    joined = Joined(images(labelled, 1), images(others, UNLABELLED, 12), Fit.of(SHAPE))
    return TrainBatches(
        joined, SHAPE, AugmentRecipe(**augment), 4, seed=0, classes=2, unlabelled_share=share
    )


def epoch_of(loader: TrainBatches, epoch: int) -> tuple[list[int], list[int]]:
    """Ids of the images with a label, and of those without."""
    loader.set_epoch(epoch)
    ids = [number for batch in loader for number in batch.ids.tolist()]
    first = len(loader.images.labels) - int((loader.images.labels == UNLABELLED).sum())
    return sorted(n for n in ids if n < first), sorted(n for n in ids if n >= first)


def test_pictures_are_those_of_their_set_whatever_the_order() -> None:
    first, second = images(3, 0), images(2, UNLABELLED, 12)
    joined = Joined(first, second, Fit(8, 8))
    found = joined.read(np.array([4, 0, 3, 2]))
    resized = second.read(np.arange(2), Fit(8, 8))
    expected = np.stack([resized[1], first.pixels[0], resized[0], first.pixels[2]])
    np.testing.assert_array_equal(found, expected)
    assert joined.labels.tolist() == [0, 0, 0, -1, -1]


def test_a_crop_is_that_of_its_own_sample() -> None:
    """A framing goes by the place of a picture among those read at once, in both sets."""
    loader = batches(6, 6, None, crop_min_area=0.3)
    in_batches = {
        int(number): image
        for batch in loader
        for number, image in zip(batch.ids, batch.images, strict=True)
    }
    alone = batches(6, 6, None, crop_min_area=0.3)
    alone.batch_size = 1
    for batch in alone:
        assert batch.images[0].equal(in_batches[int(batch.ids[0])])


def test_without_a_share_each_image_is_shown_once() -> None:
    loader = batches(10, 6, None)
    assert epoch_of(loader, 0) == (list(range(10)), list(range(10, 16)))


@pytest.mark.parametrize(("others", "most"), [(40, 1), (4, 2)])
def test_an_epoch_has_the_share_that_was_asked_for(others: int, most: int) -> None:
    loader = batches(12, others, 0.4)
    labelled, drawn = epoch_of(loader, 0)
    assert labelled == list(range(12))
    assert len(drawn) == 8 == loader.shown - 12  # 0.4 of 20
    assert max(drawn.count(number) for number in drawn) == most
    assert len(loader) == 5
    again, other = epoch_of(loader, 0)[1], epoch_of(loader, 1)[1]
    assert again == drawn
    if others == 40:
        assert other != drawn


def test_a_mixed_image_has_a_label_where_both_have_one() -> None:
    loader = batches(8, 8, None, mix="mixup")
    sums = [row for batch in loader for row in batch.labels.sum(1).tolist()]
    assert set(map(round, sums)) == {0, 1}
    assert all(total == pytest.approx(round(total)) for total in sums)
