"""VID: the student's features say as much as they can about the teacher's."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import METHODS, Progress
from smskd.methods._features import FeatureMethod, to_coarser
from smskd.pair import Pair
from smskd.precision import full_precision

_SMALLEST_VARIANCE = 1e-5


def vid_loss(mean: Tensor, teacher: Tensor, variance: Tensor) -> Tensor:
    """How unlikely the teacher's feature is under the student's guess: shape (N,).

    Ahn et al., "Variational Information Distillation for Knowledge Transfer" (2019), −log q(t | s)
    of a Gaussian q with one variance a channel: mean of ½ · ((t − μ)² / σ² + log σ²), the constant
    left out. Where μ = t it is ½ · mean(log σ²), which is as low as it gets for these variances.

    Args:
        mean: μ, what is guessed from the student's feature, shape (N, C, h, w).
        teacher: the teacher's feature, shape (N, C, h, w).
        variance: σ² of each channel, shape (C,), positive.
    """
    spread = full_precision(variance)[:, None, None]
    errors = (full_precision(mean) - full_precision(teacher)).square()
    return (errors / spread + spread.log()).flatten(1).mean(1) / 2


@METHODS.register("vid")
class VID(FeatureMethod):
    """Variational information distillation at every tap pair.

    Each pair has a regressor of three 1×1 convolutions and learns one variance a channel. The
    finer of the two features is first averaged down to the coarser one's size: the regressor
    guesses from the student's feature as it is compared.

    Args:
        initial_variance: σ² of every channel at the start.

    Raises:
        ValueError: unless the variance is above 1e-5, below which none can fall.
    """

    paper = "Ahn et al. 2019, arXiv 1904.05835"
    formula = "Σ_taps ½ · mean((μ(s) − t)² / σ² + log σ²), μ and σ² learnt"

    holds = True
    learns_what_it_holds = True

    def __init__(self, *, initial_variance: float = 5.0) -> None:
        super().__init__()
        if initial_variance <= _SMALLEST_VARIANCE:
            raise ValueError(
                f"variance must be above {_SMALLEST_VARIANCE}, but got {initial_variance=}"
            )
        self.initial_variance = initial_variance
        self.regressors = nn.ModuleList()
        self.raw_variances = nn.ParameterList()

    def build(self, pair: Pair) -> None:
        super().build(pair)
        above = self.initial_variance - _SMALLEST_VARIANCE
        # The inverse of softplus, in a form that does not overflow.
        raw = above + math.log(-math.expm1(-above))
        for student_shape, teacher_shape in pair.feature_shapes:
            self.regressors.append(_regressor(student_shape[0], teacher_shape[0]))
            self.raw_variances.append(nn.Parameter(torch.full((teacher_shape[0],), raw)))

    def variance(self, place: int) -> Tensor:
        """σ² of every channel at one tap pair: shape (C,)."""
        return F.softplus(self.raw_variances[place]) + _SMALLEST_VARIANCE

    def tap_loss(self, place: int, student: Tensor, teacher: Tensor, progress: Progress) -> Tensor:
        student_map, teacher_map = to_coarser(student, teacher)
        return vid_loss(self.regressors[place](student_map), teacher_map, self.variance(place))

    def held_losses(
        self, student: Signals, reference: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        """½ · mean((μ(s) − μ(r))² / σ²), summed over the taps: shape (N,)."""
        losses = []
        for place, pair in enumerate(zip(student.features, reference.features, strict=True)):
            student_mean, reference_mean = (
                full_precision(self.regressors[place](full_precision(feature))) for feature in pair
            )
            squares = (student_mean - reference_mean).square()
            ratios = squares / self.variance(place)[:, None, None]
            losses.append(ratios.flatten(1).mean(1) / 2)
        return torch.stack(losses).sum(0)


def _regressor(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 1, bias=False),
    )
