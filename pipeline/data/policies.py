"""RandAugment and TrivialAugment, as torchvision has them, each image drawing from its own seed."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.data.images import Images, picture_of
from pipeline.recipe.sections import AugmentRecipe


def changed_by_policy(images: Images, draws: NDArray[np.float64], recipe: AugmentRecipe) -> Images:
    """Each image changed by the recipe's policy: uint8, shape (N, H, W, C).

    torchvision draws from torch's one generator, whose state is put back afterwards; so this
    must run in the thread that trains, or two threads would draw from it at once.

    Args:
        images: uint8, shape (N, H, W, C).
        draws: a number in [0, 1) for each image, on which alone its change depends; shape (N,).
        recipe: which policy, and how strong.
    """
    policy = _policy(recipe.policy, recipe.operations, recipe.magnitude)
    changed = np.empty_like(images)
    with torch.random.fork_rng(devices=[]):
        for index, draw in enumerate(draws.tolist()):
            # torch.manual_seed would seed every device there is, which takes longer than the rest.
            torch.default_generator.manual_seed(int(draw * 2**53))
            picture = policy(picture_of(images[index]))
            changed[index] = np.asarray(picture).reshape(images.shape[1:])
    return changed


@cache
def _policy(name: str, operations: int, magnitude: int) -> Any:
    from torchvision.transforms import v2  # noqa: PLC0415 - seconds, only where one is asked for

    if name == "randaugment":
        return v2.RandAugment(operations, magnitude)
    return v2.TrivialAugmentWide()
