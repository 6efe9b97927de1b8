"""What a network says about a batch: its logits and the features at its taps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from smskd.precision import full_precision


class Signals(NamedTuple):
    """The outputs of one network for one batch.

    A tuple, because Lightning Fabric looks for tensors to convert in tuples, and refuses frozen
    dataclasses.

    Attributes:
        logits: shape (N, classes).
        features: one tensor a tap, shape (N, C, H, W), from the input's side to the output's.
            The features of student and teacher stand pair by pair at the same place.
    """

    logits: Tensor
    features: tuple[Tensor, ...] = ()

    @property
    def embedding(self) -> Tensor:
        """The last feature, averaged over its positions: shape (N, C), in full precision."""
        return full_precision(self.features[-1]).flatten(2).mean(2)


@dataclass(frozen=True)
class PairShapes:
    """Shapes of what student and teacher say, found by one dry pass; batch dimension left out."""

    student_logits: tuple[int, ...]
    teacher_logits: tuple[int, ...]
    student_features: tuple[tuple[int, ...], ...]
    teacher_features: tuple[tuple[int, ...], ...]
