"""ReviewKD: each level of the teacher teaches that level of the student and all deeper ones."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from smskd.batch import Batch
from smskd.features.signals import Shapes, Signals
from smskd.methods import METHODS, Method, Progress
from smskd.methods._features import connector, resized
from smskd.pair import Pair
from smskd.precision import full_precision

_LEVELS = (4, 2, 1)
_MOST_CHANNELS = 512


def hierarchical_context_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error at several sizes, each coarser one with half the weight: shape (N,).

    Chen et al., "Distilling Knowledge via Knowledge Review" (2021), HCL: the whole map, then its
    averages over 4×4, 2×2 and 1×1 fields, where these are coarser than it. The weights sum to 1.

    Args:
        student, teacher: features, shape (N, C, H, W).
    """
    student_map, teacher_map = full_precision(student), full_precision(teacher)
    height, width = student_map.shape[2:]
    losses, weights = [_squared_error(student_map, teacher_map)], [1.0]
    for level in _LEVELS:
        if level >= max(height, width):
            continue
        size = min(level, height), min(level, width)
        losses.append(_squared_error(resized(student_map, *size), resized(teacher_map, *size)))
        weights.append(weights[-1] / 2)
    terms = [weight * loss for weight, loss in zip(weights, losses, strict=True)]
    return torch.stack(terms).sum(0) / sum(weights)


def _squared_error(first: Tensor, second: Tensor) -> Tensor:
    return (first - second).square().flatten(1).mean(1)


class Fusion(nn.Module):
    """Joins a level of the student with what the deeper ones gave (the paper's ABF).

    Args:
        channels: of the student's feature at this level.
        middle: of what goes from level to level.
        out_channels: of the teacher's feature at this level.
        deepest: whether no level is deeper.
    """

    def __init__(self, channels: int, middle: int, out_channels: int, deepest: bool) -> None:
        super().__init__()
        self.enter = connector(channels, middle)
        self.attend = None if deepest else nn.Conv2d(2 * middle, 2, 1)
        self.leave = connector(middle, out_channels, kernel_size=3)
        for convolution in (self.enter[0], self.leave[0]):
            nn.init.kaiming_uniform_(cast(nn.Conv2d, convolution).weight, a=1)

    def forward(
        self, feature: Tensor, deeper: Tensor | None, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """The level in the teacher's channels and size, and what goes on to the shallower one.

        Args:
            feature: the student's, shape (N, channels, h, w).
            deeper: what comes from the deeper level, shape (N, middle, h', w').
            height, width: the teacher's H and W.

        Returns:
            Shapes (N, out_channels, H, W) and (N, middle, H, W).
        """
        joined = self.enter(feature)
        if self.attend is not None and deeper is not None:
            review = resized(deeper, *joined.shape[2:])
            attention = torch.sigmoid(self.attend(torch.cat([joined, review], 1)))
            joined = joined * attention[:, :1] + review * attention[:, 1:]
        joined = resized(joined, height, width)
        return self.leave(joined), joined


@METHODS.register("reviewkd")
class ReviewKD(Method):
    """Knowledge review, from the embeddings over the deepest tap pair to the shallowest.

    As in the authors' code the deepest level is what the classifiers see, as a map of one position;
    unless the deepest taps already give one position. The teacher is read there in front of its
    ReLU: name such taps of it to do the same.

    Args:
        warmup_epochs: the loss grows linearly over these first epochs of the stage, or over all
            its epochs where it has fewer.

    Raises:
        ValueError: when the warm-up is negative.
    """

    family = "feature"
    paper = "Chen et al. 2021, arXiv 2104.09044"
    formula = "min(epoch / warm-up, 1) · Σ HCL(f(s_level … s_pooled), t_level), f a learnt fusion"
    needs = ("features", "embedding")

    def __init__(self, *, warmup_epochs: int = 20) -> None:
        super().__init__()
        if warmup_epochs < 0:
            raise ValueError(f"warmup_epochs must not be negative, but got {warmup_epochs=}")
        self.warmup_epochs = warmup_epochs
        self.fusions = nn.ModuleList()

    def build(self, pair: Pair) -> None:
        super().build(pair)
        student_levels = _channels_of_levels(pair.student_shapes)
        teacher_levels = _channels_of_levels(pair.teacher_shapes)
        self.has_pooled = all(max(shape[1:]) > 1 for shape in pair.feature_shapes[-1])
        if not self.has_pooled:
            student_levels, teacher_levels = student_levels[:-1], teacher_levels[:-1]
        middle = min(student_levels[-1], _MOST_CHANNELS)
        for place, (channels, out_channels) in enumerate(
            zip(student_levels, teacher_levels, strict=True)
        ):
            self.fusions.append(
                Fusion(channels, middle, out_channels, place == len(student_levels) - 1)
            )

    def forward(
        self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        losses = []
        deeper = None
        levels = zip(self.fusions, self._levels(student), self._levels(teacher), strict=True)
        for fusion, student_level, teacher_level in reversed(list(levels)):
            fused, deeper = fusion(full_precision(student_level), deeper, *teacher_level.shape[2:])
            losses.append(hierarchical_context_loss(fused, teacher_level).mean())
        return progress.risen(self.warmup_epochs) * torch.stack(losses).sum()

    def _levels(self, signals: Signals) -> list[Tensor]:
        """The levels, from the shallowest on; the pooled one has shape (N, D, 1, 1)."""
        assert signals.embedding is not None
        pooled = [signals.embedding[:, :, None, None]] if self.has_pooled else []
        return [*signals.features, *pooled]


def _channels_of_levels(shapes: Shapes) -> list[int]:
    """Channels of each level, the pooled one last."""
    return [*(shape[0] for shape in shapes.features), cast(int, shapes.embedding)]
