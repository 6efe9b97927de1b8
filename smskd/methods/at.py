"""AT: the student looks where the teacher looks."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from smskd.methods import METHODS, Progress
from smskd.methods._features import FeatureMethod, to_coarser
from smskd.precision import full_precision

_SQUARE = 2.0


def attention_map(feature: Tensor, power: float) -> Tensor:
    """Where a feature map is active: the mean over channels of |activation|^power, unit length.

    Args:
        feature: shape (N, C, H, W).

    Returns:
        Shape (N, H·W), each row of Euclidean length 1.
    """
    if power == _SQUARE:
        activity: Tensor = _MeanSquare.apply(feature)
    else:
        activity = feature.abs().pow(power).mean(1)
    return F.normalize(activity.flatten(1), dim=1)


class _MeanSquare(torch.autograd.Function):
    """The mean over channels of a feature's squares; its gradient in one pass over the feature,
    where that of the single operations takes five and most of the time of a loss."""

    @staticmethod
    def forward(ctx: Any, feature: Tensor) -> Tensor:
        ctx.save_for_backward(feature)
        return feature.square().mean(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        feature: Tensor = ctx.saved_tensors[0]
        return (gradient * (2 / feature.shape[1])).unsqueeze(1) * feature


def at_loss(student: Tensor, teacher: Tensor, power: float) -> Tensor:
    """Mean squared difference of the two attention maps: shape (N,).

    Zagoruyko and Komodakis, "Paying More Attention to Attention" (2017), equation 2, with the
    squared norm, as the authors' own code has it.

    Args:
        student, teacher: features, shape (N, C, H, W); C may differ, and the finer one is
            averaged down to the coarser one's H and W.
    """
    student, teacher = to_coarser(full_precision(student), full_precision(teacher))
    return (attention_map(student, power) - attention_map(teacher, power)).square().mean(1)


@METHODS.register("at")
class AT(FeatureMethod):
    """Attention transfer, summed over all tap pairs.

    Args:
        power: how strongly large activations count.

    Raises:
        ValueError: unless the power is at least 1.
    """

    paper = "Zagoruyko and Komodakis 2017, arXiv 1612.03928"
    formula = "Σ_taps mean((a(s) − a(t))²), a(x) = mean_c |x_c|^p / ‖·‖₂"
    holds = True
    default_weight = 1000.0

    def __init__(self, *, power: float = 2.0) -> None:
        super().__init__()
        # Below 1 the gradient at zero, where many activations lie, is infinite.
        if power < 1:
            raise ValueError(f"power must be at least 1, but got {power=}")
        self.power = power

    def tap_loss(self, place: int, student: Tensor, teacher: Tensor, progress: Progress) -> Tensor:
        return at_loss(student, teacher, self.power)
