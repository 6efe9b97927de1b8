"""What a submodule gives, as a feature map (N, C, H, W), and back.

Convolutional networks give maps, some transformers maps with the channels last, others tokens.
Methods see maps alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# A class token, a distillation token, four registers: tokens that stand for no position.
_MOST_PREFIX_TOKENS = 6


def as_map(output: Tensor) -> Tensor | None:
    """A submodule's output as a feature map (N, C, H, W); None when it is none.

    Args:
        output: maps (N, C, H, W) or (N, H, W, C), told apart by which two sizes are equal;
            tokens (N, L, C), of which those in front of a square number of positions are left
            out; or vectors (N, C), which are maps of one position.
    """
    if output.dim() == 4:
        return output.permute(0, 3, 1, 2) if _channels_last(output) else output
    if output.dim() == 3:
        height, width = _grid(output.shape[1])
        tokens = output[:, output.shape[1] - height * width :]
        return tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)
    if output.dim() == 2:
        return output[:, :, None, None]
    return None


def put_back(feature_map: Tensor, output: Tensor) -> Tensor:
    """A changed feature map in the shape of the output that it was made from.

    Tokens that stand for no position stay as the output has them.
    """
    if output.dim() == 4:
        return feature_map.permute(0, 2, 3, 1) if _channels_last(output) else feature_map
    if output.dim() == 3:
        tokens = feature_map.flatten(2).transpose(1, 2)
        prefix = output[:, : output.shape[1] - tokens.shape[1]]
        return _joined(prefix, tokens)
    return feature_map.flatten(1)


def _channels_last(output: Tensor) -> bool:
    _, first, second, third = output.shape
    return first == second != third


def _grid(tokens: int) -> tuple[int, int]:
    for prefix in range(_MOST_PREFIX_TOKENS):
        side = math.isqrt(max(tokens - prefix, 0))
        if side > 1 and side * side == tokens - prefix:
            return side, side
    return tokens, 1


def _joined(prefix: Tensor, tokens: Tensor) -> Tensor:
    return torch.cat([prefix, tokens.to(prefix.dtype)], dim=1) if prefix.shape[1] else tokens
