from __future__ import annotations

import numpy as np
import pytest

from pipeline.data.images import ArrayImages, Subset, sample_of


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
