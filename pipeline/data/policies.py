"""Policies that draw changes for a picture: RandAugment, TrivialAugment and AugMix.

As torchvision's v2 has them, in what may be drawn and how strong it is. A policy is a pure function
of a picture and the numbers that it draws, so any thread may run it. A new one is a function here,
or in a module behind the entry point `pipeline.data.policies`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
from PIL import Image

from foundation.registry import Registry
from pipeline.data.operations import OPERATIONS
from pipeline.recipe.sections.data import AugmentRecipe

Numbers = Iterator[float]
Policy = Callable[[Image.Image, Numbers, AugmentRecipe], Image.Image]

POLICIES: Registry[Policy] = Registry("policy", "pipeline.data.policies")

MAGNITUDES = 31
"""Levels of strength, from 0 to 30."""

_SEVERITIES, _MIXED_SEVERITY = 10, 3
_CHAINS, _LONGEST_CHAIN = 3, 3


@dataclass(frozen=True)
class DrawnOperation:
    """An operation that a policy may draw.

    Attributes:
        strength: what it is told at a level from 0 to 1, for a side of so many pixels.
        side: the axis along which a picture's pixels count for it: 0 across, 1 down.
        signed: whether it goes both ways.
    """

    strength: Callable[[float, int], float]
    side: int = 0
    signed: bool = False


def _up_to(highest: float) -> DrawnOperation:
    return DrawnOperation(lambda level, _side: highest * level, signed=True)


def _share(highest: float, side: int) -> DrawnOperation:
    return DrawnOperation(lambda level, pixels: highest * pixels * level, side, signed=True)


def _bits(most: int, fewer: int) -> DrawnOperation:
    return DrawnOperation(lambda level, _side: round(most - fewer * level))


_ALWAYS_THE_SAME = DrawnOperation(lambda _level, _side: 0.0)


def _space(
    *,
    shear: float,
    turn: float,
    enhance: float,
    posterize: DrawnOperation,
    moves: tuple[DrawnOperation, DrawnOperation],
) -> dict[str, DrawnOperation]:
    return {
        "shear-x": _up_to(shear),
        "shear-y": _up_to(shear),
        "translate-x": moves[0],
        "translate-y": moves[1],
        "rotate": _up_to(turn),
        "brightness": _up_to(enhance),
        "colour": _up_to(enhance),
        "contrast": _up_to(enhance),
        "sharpness": _up_to(enhance),
        "posterize": posterize,
        "solarize": DrawnOperation(lambda level, _side: 255 * (1 - level)),
        "autocontrast": _ALWAYS_THE_SAME,
        "equalize": _ALWAYS_THE_SAME,
    }


def _shares(highest: float) -> tuple[DrawnOperation, DrawnOperation]:
    return _share(highest, 0), _share(highest, 1)


RANDAUGMENT = {"identity": _ALWAYS_THE_SAME} | _space(
    shear=0.3, turn=30, enhance=0.9, posterize=_bits(8, 4), moves=_shares(150 / 331)
)
TRIVIALAUGMENT = {"identity": _ALWAYS_THE_SAME} | _space(
    shear=0.99, turn=135, enhance=0.99, posterize=_bits(8, 6), moves=(_up_to(32), _up_to(32))
)
AUGMIX = _space(shear=0.3, turn=30, enhance=0.9, posterize=_bits(4, 4), moves=_shares(1 / 3))


@POLICIES.register("none")
def unchanged(picture: Image.Image, _numbers: Numbers, _recipe: AugmentRecipe) -> Image.Image:
    """No changes."""
    return picture


@POLICIES.register("randaugment")
def randaugment(picture: Image.Image, numbers: Numbers, recipe: AugmentRecipe) -> Image.Image:
    """RandAugment: so many operations of one strength (Cubuk et al. 2019, arXiv 1909.13719)."""
    level = recipe.magnitude / (MAGNITUDES - 1)
    for _ in range(recipe.operations):
        picture = _changed(picture, RANDAUGMENT, level, numbers)
    return picture


@POLICIES.register("trivialaugment")
def trivialaugment(picture: Image.Image, numbers: Numbers, _recipe: AugmentRecipe) -> Image.Image:
    """TrivialAugment: one operation of any strength (Müller, Hutter 2021, arXiv 2103.10158)."""
    level = _drawn(numbers, MAGNITUDES) / (MAGNITUDES - 1)
    return _changed(picture, TRIVIALAUGMENT, level, numbers)


@POLICIES.register("augmix")
def augmix(picture: Image.Image, numbers: Numbers, _recipe: AugmentRecipe) -> Image.Image:
    """AugMix: a blend of the picture and three chains (Hendrycks et al. 2020, arXiv 1912.02781)."""
    keep, _ = _shares_of_one(numbers, 2)
    mixed = keep * np.asarray(picture, np.float32)
    for share in _shares_of_one(numbers, _CHAINS):
        changed = picture
        for _ in range(1 + _drawn(numbers, _LONGEST_CHAIN)):
            level = _drawn(numbers, _MIXED_SEVERITY) / (_SEVERITIES - 1)
            changed = _changed(changed, AUGMIX, level, numbers)
        mixed += (1 - keep) * share * np.asarray(changed, np.float32)
    return Image.fromarray(mixed.astype(np.uint8))


def _changed(
    picture: Image.Image, space: Mapping[str, DrawnOperation], level: float, numbers: Numbers
) -> Image.Image:
    """A picture changed by one operation of a space, drawn with its sign."""
    name = list(space)[_drawn(numbers, len(space))]
    choice, turned = space[name], next(numbers) < 0.5
    strength = choice.strength(level, picture.size[choice.side])
    return OPERATIONS.get(name)(picture, -strength if choice.signed and turned else strength)


def _drawn(numbers: Numbers, count: int) -> int:
    """One of 0..count−1."""
    return int(next(numbers) * count)


def _shares_of_one(numbers: Numbers, count: int) -> list[float]:
    """Shares that sum to 1, all such equally likely: of Dirichlet's distribution with α = 1."""
    waits = [-math.log1p(-number) for number in islice(numbers, count)]
    return [wait / (sum(waits) or 1.0) for wait in waits]
