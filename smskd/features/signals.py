"""What a network says about a batch: its logits, the features at its taps, and its embedding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Signals(NamedTuple):
    """The outputs of one network for one batch.

    A tuple, because Lightning Fabric looks for tensors to convert in tuples, and refuses frozen
    dataclasses.

    Attributes:
        logits: shape (N, classes).
        features: one feature map a tap, shape (N, C, H, W), from the input's side to the output's.
            The features of student and teacher stand pair by pair at the same place.
        embedding: what the classifier sees, shape (N, D): the input of the last linear layer, or
            else the last feature map averaged over its positions. None when there is neither.
    """

    logits: Tensor
    features: tuple[Tensor, ...] = ()
    embedding: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> Signals:
        """The same with every tensor changed."""
        embedding = None if self.embedding is None else change(self.embedding)
        return Signals(change(self.logits), tuple(map(change, self.features)), embedding)


@dataclass(frozen=True)
class Shapes:
    """Shapes of what one network says, batch dimension left out.

    Attributes:
        logits: (classes,).
        features: (C, H, W), one a tap.
        embedding: D, or None when there is no embedding.
    """

    logits: tuple[int, ...]
    features: tuple[tuple[int, ...], ...] = ()
    embedding: int | None = None

    @classmethod
    def of(cls, signals: Signals) -> Shapes:
        """The shapes of signals."""
        return cls(
            tuple(signals.logits.shape[1:]),
            tuple(tuple(feature.shape[1:]) for feature in signals.features),
            None if signals.embedding is None else signals.embedding.shape[1],
        )
