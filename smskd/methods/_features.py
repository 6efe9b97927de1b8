"""What several feature methods share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def to_coarser(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Average two features (N, C, H, W) down to the smaller H and the smaller W of the two."""
    height = min(first.shape[2], second.shape[2])
    width = min(first.shape[3], second.shape[3])
    return (
        F.adaptive_avg_pool2d(first, (height, width)),
        F.adaptive_avg_pool2d(second, (height, width)),
    )
