"""A guess at the preparation of images is held against the usual ways."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foundation.preprocessing import Preprocessing
from pipeline.data.framing import Fit
from pipeline.data.images import ArrayImages
from pipeline.training.preparation_trials import remark_on_preparation

PLAIN = Preprocessing(8, 8, 3, [0.45, 0.5, 0.4], [0.2, 0.25, 0.22])
CROP = 'data.preprocessing.fit = "crop", data.preprocessing.crop_pct = 0.875'


def remarks(trained: Preprocessing, here: Preprocessing, count: int = 60) -> list[str]:
    """What is said of a network that names images rightly if they are prepared as it was trained.

    Its answer is a hash of the pixels: any other preparation is as good as chance.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (count, 12, 20, 3), dtype=np.uint8)

    def answer(prepared: np.ndarray) -> np.ndarray:
        codes = np.floor(prepared.sum((1, 2, 3), dtype=np.float64) * 101).astype(np.int64) % 5
        return np.eye(5, dtype=np.float32)[codes]

    pictures = ArrayImages(pixels, np.zeros(count, np.int64))
    labels = answer(trained.apply(pictures.read(np.arange(count), Fit.of(trained)))).argmax(1)
    told: list[str] = []
    remark_on_preparation(answer, ArrayImages(pixels, labels), here, "net.pt", told.append)
    return told


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        ({"fit": "crop", "resize_to": [9, 9]}, CROP),
        ({"mean": [0.0] * 3, "std": [1 / 255] * 3}, "data.mean = [0, 0, 0], data.std = [0.003922"),
        ({"mean": [0.5] * 3, "std": [0.5] * 3}, "(-1 to 1)"),
    ],
    ids=["crop", "bytes", "signed"],
)
def test_the_way_it_was_trained_is_named_with_the_figures(change: dict, keys: str) -> None:
    (line,) = remarks(replace(PLAIN, **change), PLAIN)
    assert keys in line
    assert "60 with" in line and "of 60 labelled images" in line
    assert "\n" not in line


def test_a_scale_and_a_fit_are_found_together() -> None:
    """Shades on the scale 0..1 name the class, and a white margin, which cropping takes away,
    confuses the network on every third picture."""
    count = 60
    labels = np.arange(count) % 5
    pixels = np.zeros((count, 8, 16, 3), np.uint8)
    pixels[:] = (40 * labels + 20)[:, None, None, None]
    pixels[:, :, :2] = pixels[:, :, 14:] = 255

    def answer(prepared: np.ndarray) -> np.ndarray:
        shades = np.median(prepared[:, 0, 4], axis=1) * 255
        codes = np.clip(np.rint((shades - 20) / 40), 0, 4).astype(np.int64)
        codes[(prepared[:, 0, 4, 0] > 0.9) & (np.arange(len(codes)) % 3 == 0)] += 1
        return np.eye(6, dtype=np.float32)[codes]

    told: list[str] = []
    remark_on_preparation(answer, ArrayImages(pixels, labels), PLAIN, "net.pt", told.append)
    (line,) = told
    assert f"60 with {CROP} and data.mean = [0, 0, 0], data.std = [1, 1, 1] (0 to 1)" in line


def test_nothing_is_said_where_the_guess_was_right() -> None:
    assert remarks(PLAIN, PLAIN) == []


def test_nothing_is_said_where_no_usual_way_is_clearly_better() -> None:
    strange = replace(PLAIN, mean=[3.0] * 3)
    assert remarks(strange, PLAIN) == []
    assert remarks(replace(PLAIN, fit="crop", resize_to=[9, 9]), PLAIN, count=5) == []


def test_a_squashed_guess_is_tried_where_images_are_cropped() -> None:
    (line,) = remarks(PLAIN, replace(PLAIN, fit="crop", resize_to=[9, 9]))
    assert 'data.preprocessing.fit = "squash"' in line
