"""What feature methods share: a loss for each tap pair and sample."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import Family, Method, Need, Progress
from smskd.precision import full_precision


class FeatureMethod(Method):
    """A method that compares the features of each tap pair on its own, sample by sample.

    A subclass says what one pair's loss is; the sum over pairs of the mean over samples is here.
    """

    family: ClassVar[Family] = "feature"
    needs: ClassVar[tuple[Need, ...]] = ("features",)

    @abstractmethod
    def tap_loss(self, place: int, student: Tensor, teacher: Tensor, progress: Progress) -> Tensor:
        """The loss of every sample at one tap pair: shape (N,).

        Args:
            place: which pair, from 0 at the input's side.
            student, teacher: its features, shape (N, C, H, W), in full precision.
            progress: where the stage stands.
        """

    def spot_losses(self, student: Signals, teacher: Signals, progress: Progress) -> Tensor:
        """The loss of every sample at every tap pair: shape (taps, N)."""
        pairs = zip(student.features, teacher.features, strict=True)
        return torch.stack(
            [
                self.tap_loss(
                    place,
                    full_precision(student_feature),
                    full_precision(teacher_feature),
                    progress,
                )
                for place, (student_feature, teacher_feature) in enumerate(pairs)
            ]
        )

    def forward(
        self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        return self.spot_losses(student, teacher, progress).mean(1).sum()

    def held_losses(
        self, student: Signals, reference: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        """Of a method that learns nothing; others say what they compare."""
        if not self.holds:
            return super().held_losses(student, reference, batch, progress)
        return self.spot_losses(student, reference, progress).sum(0)


def to_coarser(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Average two features (N, C, H, W) down to the smaller H and the smaller W of the two."""
    height = min(first.shape[2], second.shape[2])
    width = min(first.shape[3], second.shape[3])
    return resized(first, height, width), resized(second, height, width)


def resized(feature: Tensor, height: int, width: int) -> Tensor:
    """The feature (N, C, h, w) with h = height and w = width.

    Positions are averaged on the way down, and repeated on the way up.
    """
    if feature.shape[2:] == (height, width):
        return feature
    return F.adaptive_avg_pool2d(feature, (height, width))


class BatchNorm(nn.BatchNorm2d):
    """Batch-norm that also trains on one vector, which has no variance: by what it saw before.

    The last batch of an epoch may hold one sample, and its feature one position.
    """

    def forward(self, feature: Tensor) -> Tensor:
        if self.training and feature.numel() == feature.shape[1]:
            return F.batch_norm(
                feature, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(feature)


def connector(channels: int, out_channels: int, kernel_size: int = 1) -> nn.Sequential:
    """A learnt convolution into `out_channels` channels, with batch-norm."""
    padding = kernel_size // 2
    convolution = nn.Conv2d(channels, out_channels, kernel_size, padding=padding, bias=False)
    return nn.Sequential(convolution, BatchNorm(out_channels))
