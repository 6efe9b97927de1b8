from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms.v2 import functional as F

from pipeline.data.operations import OPERATIONS

MODES = ("RGB", "L")

Reference = Callable[[Image.Image, float], Image.Image]


def photo(mode: str, size: tuple[int, int] = (37, 29)) -> Image.Image:
    """Smooth shades with a little noise, of all values."""
    across, down = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    shades = np.stack([across, down, (across + down) / 2], axis=2) * 235
    noise = np.random.default_rng(0).integers(0, 21, shades.shape)
    return Image.fromarray((shades + noise).astype(np.uint8)).convert(mode)


def sheared(x: float, y: float, picture: Image.Image) -> Image.Image:
    degrees = [math.degrees(math.atan(x)), math.degrees(math.atan(y))]
    return F.affine(picture, 0.0, [0, 0], 1.0, degrees, center=[0, 0])


def moved(x: float, y: float, picture: Image.Image) -> Image.Image:
    return F.affine(picture, 0.0, [int(x), int(y)], 1.0, [0.0, 0.0])


REFERENCES: dict[str, tuple[Reference, tuple[float, ...]]] = {
    "identity": (lambda picture, _: picture, (0.0,)),
    "shear-x": (lambda picture, m: sheared(m, 0, picture), (-0.99, -0.1, 0.0, 0.3)),
    "shear-y": (lambda picture, m: sheared(0, m, picture), (-0.99, -0.1, 0.0, 0.3)),
    "translate-x": (lambda picture, m: moved(m, 0, picture), (-8.7, 0.0, 3.2)),
    "translate-y": (lambda picture, m: moved(0, m, picture), (-8.7, 0.0, 3.2)),
    "rotate": (F.rotate, (-135.0, -7.3, 0.0, 30.0)),
    "brightness": (lambda picture, m: F.adjust_brightness(picture, 1 + m), (-0.9, 0.0, 0.9)),
    "colour": (lambda picture, m: F.adjust_saturation(picture, 1 + m), (-0.9, 0.0, 0.9)),
    "contrast": (lambda picture, m: F.adjust_contrast(picture, 1 + m), (-0.9, 0.0, 0.9)),
    "sharpness": (lambda picture, m: F.adjust_sharpness(picture, 1 + m), (-0.9, 0.0, 0.9)),
    "posterize": (lambda picture, m: F.posterize(picture, int(m)), (1.0, 4.0, 8.0)),
    "solarize": (F.solarize, (0.0, 100.5, 255.0)),
    "autocontrast": (lambda picture, _: F.autocontrast(picture), (0.0,)),
    "equalize": (lambda picture, _: F.equalize(picture), (0.0,)),
    "hue": (F.adjust_hue, (-0.5, -0.1, 0.0, 0.33, 0.5)),
}


def test_every_operation_is_held_against_torchvision() -> None:
    assert sorted(REFERENCES) == sorted(OPERATIONS.names())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", REFERENCES)
def test_it_gives_the_pixels_of_torchvisions(name: str, mode: str) -> None:
    reference, strengths = REFERENCES[name]
    picture = photo(mode)
    before = np.asarray(picture).copy()
    for strength in strengths:
        result = OPERATIONS.get(name)(picture, strength)
        assert (result.size, result.mode) == (picture.size, mode)
        np.testing.assert_array_equal(
            np.asarray(result), np.asarray(reference(picture, strength)), f"{name} {strength}"
        )
    np.testing.assert_array_equal(np.asarray(picture), before)


def test_pixels_worked_out_by_hand() -> None:
    picture = Image.fromarray(np.array([[0, 60], [120, 240]], np.uint8))
    worked_out = {
        ("translate-x", 1.0): [[0, 0], [0, 120]],
        ("translate-y", 1.0): [[0, 0], [0, 60]],
        ("brightness", -0.5): [[0, 30], [60, 120]],
        ("solarize", 120.0): [[0, 60], [135, 15]],
        ("posterize", 1.0): [[0, 0], [0, 128]],
        # The mean is 105.
        ("contrast", -1.0): [[105, 105], [105, 105]],
    }
    for (name, strength), pixels in worked_out.items():
        result = np.asarray(OPERATIONS.get(name)(picture, strength))
        np.testing.assert_array_equal(result, pixels, name)
