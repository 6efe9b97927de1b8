"""Changes of a picture's shape and colours, each a pure function of the picture and its strength.

They are those of torchvision's v2 transforms on Pillow pictures: the same pixels. A new one is a
function here, or in a module behind the entry point `pipeline.data.operations`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from foundation.registry import Registry

Operation = Callable[[Image.Image, float], Image.Image]

OPERATIONS: Registry[Operation] = Registry("operation", "pipeline.data.operations")

_NEAREST = Image.Resampling.NEAREST


@OPERATIONS.register("identity")
def identity(picture: Image.Image, _strength: float) -> Image.Image:
    """The picture itself."""
    return picture


@OPERATIONS.register("shear-x")
def shear_x(picture: Image.Image, slope: float) -> Image.Image:
    """Rows moved to the left by `slope` of their distance from the top."""
    return _affine(picture, (1, slope, 0, 0, 1, 0))


@OPERATIONS.register("shear-y")
def shear_y(picture: Image.Image, slope: float) -> Image.Image:
    """Columns moved up by `slope` of their distance from the left."""
    return _affine(picture, (1, 0, 0, slope, 1, 0))


@OPERATIONS.register("translate-x")
def translate_x(picture: Image.Image, pixels: float) -> Image.Image:
    """Moved to the right by whole pixels."""
    return _affine(picture, (1, 0, -int(pixels), 0, 1, 0))


@OPERATIONS.register("translate-y")
def translate_y(picture: Image.Image, pixels: float) -> Image.Image:
    """Moved down by whole pixels."""
    return _affine(picture, (1, 0, 0, 0, 1, -int(pixels)))


@OPERATIONS.register("rotate")
def rotate(picture: Image.Image, degrees: float) -> Image.Image:
    """Turned about its middle, against the clock."""
    return picture.rotate(degrees, _NEAREST)


@OPERATIONS.register("brightness")
def brightness(picture: Image.Image, change: float) -> Image.Image:
    """Lighter or darker: 1 + change times its values."""
    return ImageEnhance.Brightness(picture).enhance(1 + change)


@OPERATIONS.register("colour")
def colour(picture: Image.Image, change: float) -> Image.Image:
    """More or less colourful: 1 + change times as far from its greys."""
    return ImageEnhance.Color(picture).enhance(1 + change)


@OPERATIONS.register("contrast")
def contrast(picture: Image.Image, change: float) -> Image.Image:
    """More or less contrast: 1 + change times as far from its mean grey."""
    return ImageEnhance.Contrast(picture).enhance(1 + change)


@OPERATIONS.register("sharpness")
def sharpness(picture: Image.Image, change: float) -> Image.Image:
    """Sharper or softer: 1 + change times as far from the smoothed picture."""
    return ImageEnhance.Sharpness(picture).enhance(1 + change)


@OPERATIONS.register("posterize")
def posterize(picture: Image.Image, bits: float) -> Image.Image:
    """Only so many of the upper bits of each value."""
    return ImageOps.posterize(picture, int(bits))


@OPERATIONS.register("solarize")
def solarize(picture: Image.Image, threshold: float) -> Image.Image:
    """Values from `threshold` on (of 0 to 255) turned over."""
    return ImageOps.solarize(picture, threshold)  # type: ignore[arg-type]


@OPERATIONS.register("autocontrast")
def autocontrast(picture: Image.Image, _strength: float) -> Image.Image:
    """Each channel stretched to all values from 0 to 255."""
    return ImageOps.autocontrast(picture)


@OPERATIONS.register("equalize")
def equalize(picture: Image.Image, _strength: float) -> Image.Image:
    """Each channel's values spread evenly."""
    return ImageOps.equalize(picture)


@OPERATIONS.register("hue")
def hue(picture: Image.Image, share: float) -> Image.Image:
    """Colours turned on their wheel by a share of it, from -0.5 to 0.5; greys stay."""
    if picture.mode == "L":
        return picture
    turned, saturation, value = picture.convert("HSV").split()
    # Whole steps towards nought, as torchvision rounds them.
    wheel = (np.asarray(turned).astype(np.int16) + int(share * 255)).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(wheel), saturation, value)).convert("RGB")


def _affine(
    picture: Image.Image, matrix: tuple[float, float, float, float, float, float]
) -> Image.Image:
    """Each pixel from where the 2×3 matrix says; what comes from beyond is black."""
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, _NEAREST)
