"""Colour jitter: brightness, contrast, saturation and hue changed by chance, in a drawn order."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image

from pipeline.data.operations import OPERATIONS
from pipeline.recipe.sections.data import AugmentRecipe


def jittered(picture: Image.Image, numbers: Iterator[float], recipe: AugmentRecipe) -> Image.Image:
    """A picture whose colours are changed, as torchvision's ColorJitter draws it.

    Args:
        picture: RGB or grey.
        numbers: in [0, 1); what is drawn depends on them alone.
        recipe: by how much each may change.
    """
    bounds = {
        "brightness": recipe.brightness,
        "contrast": recipe.contrast,
        "colour": recipe.saturation,
        "hue": recipe.hue,
    }
    in_order = sorted(bounds, key=lambda _name: next(numbers))
    for name in in_order:
        draw, bound = next(numbers), bounds[name]
        if bound:
            # A factor of 1 + change is not below nought.
            lowest = -bound if name == "hue" else max(-bound, -1.0)
            picture = OPERATIONS.get(name)(picture, lowest + (bound - lowest) * draw)
    return picture


def jitters(recipe: AugmentRecipe) -> bool:
    """Whether colours change at all."""
    return any((recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue))
