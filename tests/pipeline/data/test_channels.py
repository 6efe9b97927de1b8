from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from foundation.errors import RecipeError
from pipeline.data import Dataset
from pipeline.data.channels import recoloured, with_channels
from pipeline.data.images import ArrayImages, Subset

RGB = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)


def of(pixels: np.ndarray) -> Dataset:
    images = ArrayImages(pixels, np.arange(len(pixels)))
    return Dataset(images, Subset(images, np.arange(2)), ["a", "b", "c"])


def test_grey_is_what_pillow_makes_of_it() -> None:
    grey = recoloured(RGB, 1)
    assert grey.shape == (3, 5, 7, 1)
    for mine, picture in zip(grey, RGB, strict=True):
        theirs = np.asarray(Image.fromarray(picture).convert("L"))
        np.testing.assert_array_equal(mine[..., 0], theirs)


def test_grey_files_come_back_as_they_were() -> None:
    grey = RGB[..., :1]
    np.testing.assert_array_equal(recoloured(recoloured(grey, 3), 1), grey)


def test_a_dataset_is_brought_to_the_channels_that_are_asked_for_and_says_so() -> None:
    dataset = with_channels(of(RGB), 1)
    assert dataset.train.read(np.arange(3)).shape == (3, 5, 7, 1)
    assert dataset.test.read(np.arange(2)).shape == (2, 5, 7, 1)
    assert dataset.remarks == ("images are read as grey, 1 channel (data.channels)",)
    for same in (None, 3):
        assert with_channels(of(RGB), same).remarks == ()
    with pytest.raises(RecipeError, match="these have 4"):
        with_channels(of(np.zeros((3, 4, 4, 4), np.uint8)), 1)
