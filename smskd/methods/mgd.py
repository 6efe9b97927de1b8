"""MGD: from a part of its feature the student makes up the teacher's whole one."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import METHODS, Method, Progress
from smskd.methods._features import to_coarser
from smskd.pair import Pair
from smskd.precision import full_precision

Hidden = Literal["channels", "positions"]


def random_mask(feature: Tensor, mask_ratio: float, hidden: Hidden) -> Tensor:
    """0 for what is hidden and 1 for the rest, drawn from torch's global generator.

    Args:
        feature: shape (N, C, H, W).
        mask_ratio: share of what is hidden.
        hidden: what is hidden as a whole.

    Returns:
        Shape (N, C, 1, 1) where channels are hidden, (N, 1, H, W) where positions are. A map of
        one position has its channels hidden whatever is asked.
    """
    count, channels, height, width = feature.shape
    whole_channels = hidden == "channels" or height * width == 1
    shape = (count, channels, 1, 1) if whole_channels else (count, 1, height, width)
    return (torch.rand(shape, device=feature.device) >= mask_ratio).to(feature.dtype)


def mgd_loss(generated: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of what was made up: shape (N,).

    Yang et al., "Masked Generative Distillation" (2022), L_dis, with the mean in place of the sum
    over C, H and W, so that its weight does not depend on the network.

    Args:
        generated: from the student's masked feature, shape (N, C, H, W).
        teacher: the teacher's feature, shape (N, C, H, W).
    """
    return (full_precision(generated) - full_precision(teacher)).square().flatten(1).mean(1)


@METHODS.register("mgd")
class MGD(Method):
    """Masked generation at the deepest tap pair.

    The authors weigh the sum of squares by 7e-5 for classification; on the mean, which is taken
    here so that the weight does not hang on the feature's size, that is 1.8 for 512×7×7.

    The authors' code hides channels of a classifier, a share of 0.15 of them; of detectors'
    features, as in the paper's equations, positions.

    Args:
        mask_ratio: share of what is hidden.
        hidden: "channels" or "positions".

    Raises:
        ValueError: unless the share is at least 0 and below 1, and what is hidden one of the two.
    """

    family = "feature"
    paper = "Yang et al. 2022, arXiv 2205.01529"
    formula = "mean((g(mask · a(s)) − t)²) at the last tap, g and a learnt"
    needs = ("features",)
    default_weight = 2.0

    def __init__(self, *, mask_ratio: float = 0.15, hidden: Hidden = "channels") -> None:
        super().__init__()
        if not 0 <= mask_ratio < 1:
            raise ValueError(f"mask_ratio must be at least 0 and below 1, but got {mask_ratio=}")
        if hidden not in get_args(Hidden):
            raise ValueError(f"hidden must be one of {get_args(Hidden)}, but got {hidden=}")
        self.mask_ratio = mask_ratio
        self.hidden: Hidden = hidden

    def build(self, pair: Pair) -> None:
        super().build(pair)
        student_channels, teacher_channels = (shape[0] for shape in pair.feature_shapes[-1])
        self.align = (
            nn.Conv2d(student_channels, teacher_channels, 1)
            if student_channels != teacher_channels
            else nn.Identity()
        )
        self.generate = nn.Sequential(
            nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1),
        )

    def forward(
        self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        aligned = self.align(full_precision(student.features[-1]))
        student_map, teacher_map = to_coarser(aligned, full_precision(teacher.features[-1]))
        mask = random_mask(student_map, self.mask_ratio, self.hidden)
        generated = self.generate(student_map * mask)
        return mgd_loss(generated, teacher_map).mean()
