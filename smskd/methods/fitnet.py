"""FitNet: the student's features, through a learnt regressor, match the teacher's."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from smskd.methods import METHODS, Method, Progress
from smskd.methods._features import to_coarser
from smskd.precision import full_precision
from smskd.signals import PairShapes, Signals


def fitnet_loss(regressed: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of a hint: a scalar.

    Romero et al., "FitNets: Hints for Thin Deep Nets" (2015), equation 3.

    Args:
        regressed: the student's feature in the teacher's channels, shape (N, C, h, w).
        teacher: the teacher's feature, shape (N, C, H, W); the finer of the two is averaged
            down to the coarser one's size.
    """
    return F.mse_loss(*to_coarser(full_precision(regressed), full_precision(teacher)))


@METHODS.register("fitnet")
class FitNet(Method):
    """Hints at every tap pair, each through its own 1×1 convolution with batch-norm."""

    family = "feature"
    paper = "Romero et al. 2015, arXiv 1412.6550"
    formula = "Σ_taps mean((r(s) − t)²), r a learnt 1×1 convolution"
    needs_features = True
    default_weight = 100.0

    def __init__(self) -> None:
        super().__init__()
        self.regressors = nn.ModuleList()

    def build(self, shapes: PairShapes) -> None:
        super().build(shapes)
        self.regressors.extend(
            nn.Sequential(nn.Conv2d(ours[0], theirs[0], 1, bias=False), nn.BatchNorm2d(theirs[0]))
            for ours, theirs in zip(shapes.student_features, shapes.teacher_features, strict=True)
        )

    def forward(
        self, student: Signals, teacher: Signals, labels: Tensor, progress: Progress
    ) -> Tensor:
        triples = zip(self.regressors, student.features, teacher.features, strict=True)
        losses = [
            fitnet_loss(cast(Tensor, regress(ours)), theirs) for regress, ours, theirs in triples
        ]
        return sum(losses, start=student.logits.new_zeros(()))
