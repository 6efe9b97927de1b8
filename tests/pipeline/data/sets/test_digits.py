from __future__ import annotations

import numpy as np
import pytest

from foundation.errors import DataLayoutError, UnknownNameError, UsageError
from pipeline.data import DATASETS, load_dataset
from pipeline.recipe.sections.data import DataRecipe


def read_all(images) -> np.ndarray:
    return images.read(np.arange(len(images.labels)))


def rows(images) -> set[bytes]:
    return {image.tobytes() for image in read_all(images)}


def test_all_digits_are_there_grey_and_of_the_asked_size() -> None:
    dataset = load_dataset(DataRecipe(image_size=16))
    assert len(dataset.train.labels) + len(dataset.test.labels) == 1797
    assert read_all(dataset.train).shape[1:] == (16, 16, 1)
    assert dataset.classes == [str(digit) for digit in range(10)]
    assert load_dataset(DataRecipe()).train.read(np.array([0])).shape == (1, 32, 32, 1)


def test_train_and_test_share_no_image() -> None:
    dataset = load_dataset(DataRecipe(image_size=8))
    everything = rows(dataset.train) | rows(dataset.test)
    assert len(everything) == len(rows(dataset.train)) + len(rows(dataset.test))


def test_pixels_use_the_whole_range() -> None:
    pixels = read_all(load_dataset(DataRecipe(image_size=8)).train)
    assert (pixels.min(), pixels.max(), pixels.dtype) == (0, 255, np.uint8)


def test_the_split_seed_decides_the_test_set() -> None:
    first, again, other = (
        rows(load_dataset(DataRecipe(image_size=8, split_seed=seed)).test) for seed in (0, 0, 1)
    )
    assert first == again != other


def test_the_test_fraction_is_kept_class_by_class() -> None:
    test = load_dataset(DataRecipe(image_size=8, test_fraction=0.5)).test
    counts = np.bincount(test.labels)
    assert abs(counts.sum() - 1797 / 2) < 1
    assert counts.min() > 80


def test_a_test_fraction_that_leaves_classes_without_an_image_is_refused() -> None:
    with pytest.raises(DataLayoutError, match=r"0\.001"):
        load_dataset(DataRecipe(test_fraction=0.001))


def test_nothing_may_stand_behind_the_colon() -> None:
    with pytest.raises(UsageError, match="'x'"):
        load_dataset(DataRecipe(name="digits:x"))


def test_an_unknown_dataset_is_told_with_its_place_and_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"here: unknown dataset 'digit'.*'digits'"):
        load_dataset(DataRecipe(name="digit"), "here")
    assert {"digits", "folder"} <= set(DATASETS.names())
