"""The number format that losses are computed in."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> Tensor:
    """The tensor in float32 at least: exponentials and sums need more digits than half types have.

    float64 stays what it is.
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
