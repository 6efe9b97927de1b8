"""From uint8 images to what a network takes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from foundation.bundle import Preprocessing
from pipeline.data.images import Images

# Of no more numbers than this does torch share out the work among threads of its own; whoever
# normalises is one of many already.
_NUMBERS_AT_ONCE = 30_000


def normalised(images: Images, preprocessing: Preprocessing) -> Tensor:
    """What `preprocessing.apply` gives, rounding aside, and faster; images of any size.

    Returns:
        float32, shape (N, C, H, W), laid out with the channels last.
    """
    result = torch.empty(images.shape)
    normalise(images, preprocessing, result)
    return result.permute(0, 3, 1, 2)


def normalise(images: Images, preprocessing: Preprocessing, result: Tensor) -> None:
    """Write what `normalised` gives to where it is needed.

    Args:
        images: uint8, shape (N, H, W, C).
        preprocessing: its mean and deviation.
        result: float32, of the same shape, contiguous.
    """
    n, height, width, channels = images.shape
    std = np.asarray(preprocessing.std, np.float64)
    mean = np.asarray(preprocessing.mean, np.float64)
    scale = torch.from_numpy(np.tile(1 / (255 * std), width).astype(np.float32))
    offset = torch.from_numpy(np.tile(-mean / std, width).astype(np.float32))
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    rows = pixels.view(n * height, width * channels)
    result_rows = result.view(n * height, width * channels)
    step = max(1, _NUMBERS_AT_ONCE // (width * channels))
    for start in range(0, n * height, step):
        some = slice(start, start + step)
        torch.addcmul(offset, rows[some].float(), scale, out=result_rows[some])
