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

from pipeline.data.images import Ids, Images
from pipeline.recipe import AugmentRecipe

_DRAWS = 4


def augmented(images: Images, ids: Ids, seed: int, view: int, recipe: AugmentRecipe) -> Images:
    """One view of each image.

    Args:
        images: uint8, shape (N, H, W, C).
        ids: number of each sample in its dataset, shape (N,).
        seed: the run's seed.
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
    return images


def uniform(seed: int, ids: Ids, view: int, count: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) that depend on nothing but the arguments: shape (len(ids), count).

    A counter run through the mixing function of SplitMix64 (Steele, Lea, Flood 2014).
    """
    state = _mixed(np.full(1, seed, np.uint64))
    state = _mixed(state + np.uint64(view))
    state = _mixed(state + ids.astype(np.uint64))
    state = _mixed(np.add(state[:, None], np.arange(count, dtype=np.uint64)))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z: NDArray[np.uint64] = x + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _shifted(images: Images, draws: NDArray[np.float64], most: int) -> Images:
    """Pad with zeros and cut out a window of the old size at a random place."""
    n, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    top, left = (draws * (2 * most + 1)).astype(np.int64).T
    rows = top[:, None] + np.arange(height)
    columns = left[:, None] + np.arange(width)
    windows: Images = padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return windows


def _flipped(images: Images, chosen: NDArray[np.bool_]) -> Images:
    flipped = images.copy()
    flipped[chosen] = images[chosen, :, ::-1]
    return flipped


def _rotated(images: Images, degrees: NDArray[np.float64]) -> Images:
    radians = torch.from_numpy(np.deg2rad(degrees)).float()
    cos, sin, zero = radians.cos(), radians.sin(), torch.zeros_like(radians)
    turns = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)
    pixels: Tensor = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    grid = F.affine_grid(turns, list(pixels.shape), align_corners=False)
    turned = F.grid_sample(pixels, grid, align_corners=False)
    rounded: Images = turned.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return rounded
