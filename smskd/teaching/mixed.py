"""Several teachers as one: what they say together of each sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from foundation.errors import ModelMismatchError
from foundation.registry import Registry
from smskd.checkpoints.files import content_sha256
from smskd.features.taps import logits_in
from smskd.precision import full_precision

Trust = Callable[[Tensor], Tensor]
"""From what each teacher says, log-probabilities (T, N, classes), to how much each counts for each
sample beside its own weight: (T, N), none below 0."""

MIXES: Registry[Trust] = Registry("mix of teachers", "smskd.teaching.mixed")


@MIXES.register("average")
def average(said: Tensor) -> Tensor:
    """All alike, but for their weights."""
    return said.new_ones(said.shape[:2])


@MIXES.register("confidence")
def confidence(said: Tensor) -> Tensor:
    """By the probability of the class that a teacher answers."""
    return said.amax(2).exp()


@MIXES.register("entropy")
def entropy(said: Tensor) -> Tensor:
    """By how far a teacher is from knowing nothing: 1 − H / ln(classes), H its entropy."""
    classes = said.shape[2]
    if classes < 2:
        return average(said)
    # 0 · ln 0 is 0.
    spread = -(said.exp() * said.clamp_min(torch.finfo(said.dtype).min)).sum(2)
    return (1 - spread / math.log(classes)).clamp_min(0)


def mixed_logits(logits: Tensor, weights: Tensor, trust: Trust) -> Tensor:
    """What teachers say together: ln Σ_t a_t,i · softmax(t(x_i)), shape (N, classes).

    The mean of probabilities, and its logarithm for logits; a_t,i is w_t times how much teacher t
    counts for sample i, over the sum of that. Where none counts for a sample, the weights alone do.

    Args:
        logits: of each teacher, shape (T, N, classes).
        weights: w_t > 0, shape (T,).
        trust: a registered mix.
    """
    said = full_precision(logits).log_softmax(2)
    own = weights.to(said).unsqueeze(1)
    counted = own * trust(said)
    counted = torch.where(counted.sum(0) > 0, counted, own)
    return (said + (counted / counted.sum(0)).log().unsqueeze(2)).logsumexp(0)


@dataclass(frozen=True, eq=False)
class MixMember:
    """One of several teachers.

    Attributes:
        network: maps images to logits (N, classes).
        weight: how much it counts beside the others.
    """

    network: nn.Module
    weight: float = 1.0


class MixedTeacher(nn.Module):
    """Several teachers that take one's place; see `mixed_logits`.

    Nothing within them can be tapped, for together they have no features. Its state is what they
    are known by.

    Args:
        members: by their names.
        mix: a registered mix.

    Raises:
        UnknownNameError: when there is no such mix.
        ValueError: when there are fewer than two, or a weight is not above 0.
    """

    digest: Tensor
    weights: Tensor

    def __init__(self, members: Mapping[str, MixMember], mix: str = "average") -> None:
        super().__init__()
        if len(members) < 2:
            raise ValueError(f"several teachers are two or more, but got {list(members)}")
        for name, member in members.items():
            if member.weight <= 0:
                raise ValueError(f"weights must be above 0, but got {member.weight} for {name!r}")
        self._trust = MIXES.get(mix)
        self._members = dict(members)  # no submodules
        weights = torch.tensor([member.weight for member in members.values()])
        self.register_buffer("weights", weights)
        known_by = [mix, *(content_sha256(m.network.state_dict()) for m in members.values())]
        digest = bytearray("\n".join(known_by).encode())
        self.register_buffer("digest", torch.frombuffer(digest, dtype=torch.uint8).clone())

    def member(self, name: str) -> nn.Module:
        """One of them by itself."""
        return self._members[name].network

    @property
    def names(self) -> list[str]:
        """Of all members."""
        return list(self._members)

    def forward(self, images: Tensor) -> Tensor:
        """Their logits (N, classes).

        Raises:
            ModelMismatchError: when they know another number of classes each.
        """
        said = {name: logits_in(m.network, m.network(images)) for name, m in self._members.items()}
        counts = {name: logits.shape[1] for name, logits in said.items()}
        if len(set(counts.values())) > 1:
            raise ModelMismatchError(
                "several teachers must know the same classes, but they give "
                f"{', '.join(f'{count} logits ({name})' for name, count in counts.items())}"
            )
        return mixed_logits(torch.stack(list(said.values())), self.weights, self._trust)

    def train(self, mode: bool = True) -> Self:
        """Teachers stay at rest."""
        for member in self._members.values():
            member.network.eval()
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        for member in self._members.values():
            member.network._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self
