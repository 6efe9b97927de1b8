"""Augmentation as a pure function of (seed, sample, view).

The same three numbers give the same image in any order, process or epoch, so a view of a
sample can come back and a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pipeline.data.draws import Purpose, numbers, uniform
from pipeline.data.images import Ids, Images, picture_of
from pipeline.data.jitter import jittered, jitters
from pipeline.data.policies import POLICIES
from pipeline.recipe.sections.data import AugmentRecipe

Draws = NDArray[np.float64]

_DRAWS = 4


def augmented(images: Images, ids: Ids, seed: int, view: int, recipe: AugmentRecipe) -> Images:
    """One view of each image: pixels are moved first, then colours change, then the policy acts.

    Any thread may do it, and several at once.

    Args:
        images: uint8, shape (N, H, W, C).
        ids: number of each sample in its dataset, shape (N,).
        seed: the run's seed, or the seed of the fixed views.
        view: which view; an epoch's number gives every epoch its own.
        recipe: what may vary.

    Returns:
        uint8, shape (N, H, W, C).
    """
    draws = uniform(seed, ids, view, _DRAWS)
    if recipe.shift:
        images = _shifted(images, draws[:, :2], recipe.shift)
    if recipe.flip:
        images = _flipped(images, draws[:, 2] < 0.5)
    if recipe.rotate:
        images = _rotated(images, (2 * draws[:, 3] - 1) * recipe.rotate)
    if recipe.policy != "none" or jitters(recipe):
        images = _pictures_changed(images, ids, seed, view, recipe)
    return images


def _pictures_changed(
    images: Images, ids: Ids, seed: int, view: int, recipe: AugmentRecipe
) -> Images:
    """Each image by itself: its colours, then what the policy draws."""
    policy = POLICIES.get(recipe.policy)
    changed = np.empty_like(images)
    for index, sample in enumerate(ids.tolist()):
        picture = picture_of(images[index])
        if jitters(recipe):
            draws = numbers(seed, sample, view, Purpose.COLOURS)
            picture = jittered(picture, draws, recipe)
        picture = policy(picture, numbers(seed, sample, view, Purpose.POLICY), recipe)
        changed[index] = np.asarray(picture).reshape(images.shape[1:])
    return changed


def _shifted(images: Images, draws: Draws, most: int) -> Images:
    """Pad with zeros and cut out a window of the old size at a random place."""
    n, height, width, channels = images.shape
    padded = np.zeros((n, height + 2 * most, width + 2 * most, channels), np.uint8)
    padded[:, most : most + height, most : most + width] = images
    top, left = (draws * (2 * most + 1)).astype(np.int64).T
    # Rows as runs of bytes: copying windows of these is far faster than picking pixel by pixel.
    rows = padded.reshape(n, height + 2 * most, -1)
    windows = np.lib.stride_tricks.sliding_window_view(
        rows, (height, width * channels), axis=(1, 2)
    )
    shifted: Images = windows[np.arange(n), top, left * channels].reshape(images.shape)
    return shifted


def _flipped(images: Images, chosen: NDArray[np.bool_]) -> Images:
    flipped = images.copy()
    flipped[chosen] = torch.from_numpy(images[chosen]).flip(2).numpy()
    return flipped


def _rotated(images: Images, degrees: Draws) -> Images:
    radians = np.deg2rad(degrees)
    cos, sin, zero = np.cos(radians), np.sin(radians), np.zeros_like(radians)
    return _warped(images, [[cos, -sin, zero], [sin, cos, zero]])


def _warped(images: Images, affine: list[list[Draws]]) -> Images:
    """Each image seen through its own affine map (2×3, in coordinates from −1 to 1)."""
    maps = torch.from_numpy(np.array(affine)).permute(2, 0, 1).float()
    pixels: Tensor = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    grid = F.affine_grid(maps, list(pixels.shape), align_corners=False)
    sampled = F.grid_sample(pixels, grid, align_corners=False)
    rounded: Images = sampled.round_().clamp_(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return rounded
