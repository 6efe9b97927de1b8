from __future__ import annotations

import numpy as np
import pytest

from pipeline.data.framing import Fit
from pipeline.data.images import (
    ArrayImages,
    Framed,
    Remembered,
    Subset,
    blocks,
    framed_pixels,
    in_memory,
    remembered,
    sample_of,
)


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


HALF = Fit(2, 2)


class TestAFraming:
    def test_is_taken_of_the_whole_pictures_unless_it_is_the_sets_own(self, ten) -> None:
        small = ten.read(np.arange(10), HALF)
        assert small.shape == (10, 2, 2, 1)
        images = ArrayImages(small, ten.labels, HALF, ten)
        some = np.array([8, 1])
        assert np.shares_memory(images.read(np.array([3]), HALF), small) is False
        np.testing.assert_array_equal(images.read(some), small[some])
        np.testing.assert_array_equal(images.read(some, HALF), small[some])
        np.testing.assert_array_equal(images.read(some, Fit(3, 3)), ten.pixels[some])
        np.testing.assert_array_equal(images.read(some, Fit(6, 6)), ten.read(some, Fit(6, 6)))

    def test_of_a_set_is_its_own_until_another_is_asked_for(self, ten) -> None:
        images = Subset(Framed(ten, HALF), np.array([7, 2]))
        some = np.array([1, 0])
        np.testing.assert_array_equal(images.read(some), ten.read(np.array([2, 7]), HALF))
        np.testing.assert_array_equal(images.read(some, Fit(3, 3)), ten.pixels[[2, 7]])
        assert images.labels.tolist() == [1, 0]

    def test_that_keeps_all_costs_no_copy(self, ten) -> None:
        assert framed_pixels(ten.pixels, Fit(3, 3)) is ten.pixels


class Counting:
    """A set that counts what is read of it."""

    def __init__(self, images: ArrayImages) -> None:
        self.images, self.labels, self.count = images, images.labels, 0

    def read(self, ids, framing=None):
        self.count += len(ids)
        return self.images.read(ids, framing)


class TestRemembering:
    def test_takes_each_image_once(self, ten) -> None:
        counting = Counting(ten)
        images = remembered(counting, HALF)
        assert isinstance(images, Remembered)
        before = counting.count
        for some in ([3, 1, 3], [1, 9], [3]):
            expected = ten.read(np.array(some), HALF)
            np.testing.assert_array_equal(images.read(np.array(some)), expected)
        # One that is asked for twice at once may be taken twice.
        assert counting.count - before == 4
        np.testing.assert_array_equal(images.read(np.array([3]), Fit(3, 3)), ten.pixels[[3]])

    def test_is_needless_where_the_images_lie_in_memory(self, ten) -> None:
        part = Subset(ten, np.array([7, 2]))
        assert remembered(part, Fit(3, 3)) is part
        own = ArrayImages(ten.read(np.arange(10), HALF), ten.labels, HALF, ten)
        assert remembered(own, HALF) is own
        assert isinstance(remembered(own, Fit(3, 3)), Remembered)

    def test_and_so_where_they_are_too_many(self, ten, monkeypatch) -> None:
        monkeypatch.setattr("pipeline.data.images._REMEMBERED_BYTES", 39)
        assert remembered(ten, HALF) is ten


def test_only_whole_pictures_in_memory_need_no_files(ten) -> None:
    small = ArrayImages(ten.read(np.arange(10), HALF), ten.labels, HALF, Counting(ten))
    assert in_memory(Subset(Framed(ten, HALF), np.arange(2)))
    assert not in_memory(small)
    assert in_memory(small, HALF) and not in_memory(small, HALF, Fit(3, 3))
    assert not in_memory(Counting(ten))
