"""OFD: the student matches what the teacher's activations say, and no more than that."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smskd.methods import METHODS, Progress
from smskd.methods._features import FeatureMethod, connector, to_coarser
from smskd.pair import Pair
from smskd.parallel import gathered
from smskd.precision import full_precision


def ofd_loss(connected: Tensor, teacher: Tensor, margin: Tensor) -> Tensor:
    """Partial squared distance from the teacher behind a margin ReLU: shape (N,).

    Heo et al., "A Comprehensive Overhaul of Feature Distillation" (2019), partial L2 distance d_p
    from σ_m(t) = max(t, m): the sum of (s − σ_m(t))², left out where σ_m(t) is not positive and s
    does not lie above it.

    Args:
        connected: the student's feature in the teacher's channels, shape (N, C, H, W).
        teacher: the teacher's feature, shape (N, C, H, W).
        margin: m of each channel, shape (C,), not positive.
    """
    student = full_precision(connected)
    target = torch.maximum(full_precision(teacher), full_precision(margin)[:, None, None])
    counts = (student > target) | (target > 0)
    return torch.where(counts, student - target, 0.0).square().flatten(1).sum(1)


class Margin(nn.Module):
    """What each channel is when it is negative, in the mean over all that came by in training.

    Zero for a channel that was never negative, as behind a ReLU.
    """

    mean: Tensor
    count: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("count", torch.zeros(channels, dtype=torch.int64))

    def forward(self, teacher: Tensor) -> Tensor:
        """Margins, shape (C,), once a feature (N, C, H, W) is taken in, which training does."""
        if self.training:
            self._take_in(teacher.detach())
        return self.mean

    def _take_in(self, feature: Tensor) -> None:
        sums = feature.clamp_max(0).sum((0, 2, 3))
        counts = (feature < 0).sum((0, 2, 3))
        # All processes take in all, so that their margins stay the same.
        sums, counts = gathered(sums[None]).sum(0), gathered(counts[None]).sum(0)
        self.count = self.count + counts
        self.mean = self.mean + (sums - counts * self.mean) / self.count.clamp_min(1)


@METHODS.register("ofd")
class OFD(FeatureMethod):
    """Overhaul of feature distillation; each earlier tap weighs half as much as the next.

    The paper works out the margins from the batch-norm in front of the teacher's ReLU. Here they
    are learnt from the features that come by, so that any teacher will do. The paper takes features
    in front of the ReLU, where there is something negative to see; name such taps to do the same.
    Behind a ReLU the margins are zero, and the loss is that of a plain ReLU target.
    """

    paper = "Heo et al. 2019, arXiv 1904.01866"
    formula = "Σ_taps 2^(place − last) · Σ [s > m(t) or m(t) > 0] · (s − m(t))², m a margin ReLU"
    default_weight = 1e-3

    def __init__(self) -> None:
        super().__init__()
        self.connectors = nn.ModuleList()
        self.margins = nn.ModuleList()

    def build(self, pair: Pair) -> None:
        super().build(pair)
        for student_shape, teacher_shape in pair.feature_shapes:
            self.connectors.append(connector(student_shape[0], teacher_shape[0]))
            self.margins.append(Margin(teacher_shape[0]))

    def tap_loss(self, place: int, student: Tensor, teacher: Tensor, progress: Progress) -> Tensor:
        connected, teacher = to_coarser(self.connectors[place](student), teacher)
        loss = ofd_loss(connected, teacher, self.margins[place](teacher))
        earlier_by = len(self.connectors) - 1 - place
        return loss * 0.5**earlier_by
