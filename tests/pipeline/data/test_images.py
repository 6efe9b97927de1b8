from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pipeline.data.images import ArrayImages, Resized, Subset, blocks, resized, sample_of


@pytest.fixture
def ten() -> ArrayImages:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 3, 3, 1), dtype=np.uint8)
    return ArrayImages(pixels, np.arange(10) // 5)


def test_a_subset_counts_within_itself(ten) -> None:
    subset = Subset(ten, np.array([7, 2, 9]))
    assert subset.labels.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(subset.read(np.array([1, 0])), ten.pixels[[2, 7]])


def test_a_subset_of_a_subset_reads_the_right_images(ten) -> None:
    inner = Subset(Subset(ten, np.array([7, 2, 9])), np.array([2]))
    np.testing.assert_array_equal(inner.read(np.array([0])), ten.pixels[[9]])


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (4, 4), (10, 10), (99, 10)])
def test_a_sample_holds_at_most_so_many_different_images(ten, count: int, expected: int) -> None:
    sample = sample_of(ten, count)
    assert len(sample.labels) == len(np.unique(sample.pixels.reshape(expected, -1), axis=0))
    assert len(sample.labels) == expected


def test_a_sample_is_spread_over_the_whole_set_with_the_right_labels(ten) -> None:
    sample = sample_of(ten, 4)
    np.testing.assert_array_equal(sample.pixels, ten.pixels[[0, 3, 6, 9]])
    assert sample.labels.tolist() == [0, 0, 1, 1]


def test_a_subset_of_a_subset_holds_the_numbers_within_the_first_set_only(ten) -> None:
    inner = Subset(Subset(ten, np.array([7, 2, 9])), np.array([2, 0]))
    assert inner.images is ten
    assert inner.ids.tolist() == [9, 7]
    assert inner.labels.tolist() == [1, 1]
    assert inner.labels is inner.labels


def test_blocks_hold_every_number_once_in_order() -> None:
    assert [block.tolist() for block in blocks(5, 2)] == [[0, 1], [2, 3], [4]]
    assert list(blocks(0)) == []


class TestResizing:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_is_what_pillow_does(self, channels: int) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (2, 9, 7, channels), dtype=np.uint8)
        found = resized(pixels, 4, 6)
        assert (found.shape, found.dtype) == ((2, 4, 6, channels), np.uint8)
        for image, small in zip(pixels, found, strict=True):
            picture = Image.fromarray(image.squeeze()).resize((6, 4), Image.Resampling.BILINEAR)
            np.testing.assert_array_equal(small.squeeze(), np.asarray(picture))

    def test_leaves_images_of_that_size_as_they_are(self, ten) -> None:
        assert resized(ten.pixels, 3, 3) is ten.pixels

    def test_happens_when_a_set_is_read(self, ten) -> None:
        images = Resized(ten, 5, 4)
        some = np.array([8, 1])
        np.testing.assert_array_equal(images.read(some), resized(ten.pixels[some], 5, 4))
        assert images.labels is ten.labels
