"""MixUp and CutMix: a batch mixed with itself, as a function of (seed, epoch, batch number)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from foundation.labels import UNLABELLED
from pipeline.recipe.sections.data import AugmentRecipe

_STREAM = 0x6D6978  # apart from the numbers that shuffle


@dataclass(frozen=True)
class Mixing:
    """How one batch is mixed.

    Attributes:
        cut: a box of the partner is pasted in (CutMix); else both are blended (MixUp).
        keep: share of the image itself, λ.
        centre: of the box, from the top and from the left, as shares of the image.
    """

    cut: bool
    keep: float
    centre: tuple[float, float]


def drawn_mixing(seed: int, epoch: int, number: int, recipe: AugmentRecipe) -> Mixing:
    """How batch `number` of an epoch is mixed; λ ~ Beta(α, α); MixUp may have its own α."""
    random = np.random.default_rng([seed, epoch, number, _STREAM])
    keep, down, across = random.beta(recipe.mix_alpha, recipe.mix_alpha), *random.random(2)
    cut = recipe.mix == "cutmix" or (recipe.mix == "mixup+cutmix" and random.random() < 0.5)
    if not cut and recipe.mixup_alpha is not None:
        keep = random.beta(recipe.mixup_alpha, recipe.mixup_alpha)
    return Mixing(cut, float(keep), (float(down), float(across)))


def mixed(images: Tensor, partners: Tensor, mixing: Mixing) -> tuple[Tensor, float]:
    """Images mixed with their partners.

    Args:
        images, partners: shape (N, C, H, W); the i-th of each make one.
        mixing: how.

    Returns:
        The mixed images, and the share of `images` in them.
    """
    return _cutmix(images, partners, mixing) if mixing.cut else _mixup(images, partners, mixing)


def mixed_labels(labels: Tensor, partners: Tensor, keep: float, classes: int) -> Tensor:
    """Probabilities of the classes, shape (N, classes), float32; a row sums to 1, or to 0 where one
    of the two has no label."""
    own, partner = (
        F.one_hot(numbers.clamp_min(0), classes).float() for numbers in (labels, partners)
    )
    known = (labels != UNLABELLED) & (partners != UNLABELLED)
    return torch.lerp(partner, own, keep) * known.unsqueeze(1)


def _mixup(images: Tensor, partners: Tensor, mixing: Mixing) -> tuple[Tensor, float]:
    """mixup (Zhang et al. 2018, arXiv 1710.09412), eq. 1."""
    return torch.lerp(partners, images, mixing.keep), mixing.keep


def _cutmix(images: Tensor, partners: Tensor, mixing: Mixing) -> tuple[Tensor, float]:
    """CutMix (Yun et al. 2019, arXiv 1905.04899), eq. 1 and 2; λ is that of the box as pasted."""
    height, width = images.shape[2:]
    side = math.sqrt(1 - mixing.keep)
    top, bottom = _span(height, mixing.centre[0], side)
    left, right = _span(width, mixing.centre[1], side)
    pasted = images.clone()
    pasted[:, :, top:bottom, left:right] = partners[:, :, top:bottom, left:right]
    return pasted, 1 - (bottom - top) * (right - left) / (height * width)


def _span(length: int, centre: float, share: float) -> tuple[int, int]:
    """Start and end of a part around a centre, as far as it lies within the length."""
    middle, half = int(centre * length), int(length * share) / 2
    return max(0, round(middle - half)), min(length, round(middle + half))
