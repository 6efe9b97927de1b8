"""SAKD: for each sample and each place, a policy decides whether to distil there.

Song, Chen, Ye, Song, "Spot-Adaptive Knowledge Distillation" (IEEE TIP 2022, arXiv 2205.02399).
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundation.errors import unknown_name
from smskd.batch import Batch
from smskd.features.lockstep import run_in_lockstep
from smskd.features.signals import Signals
from smskd.methods import METHODS, Method, Pace, Progress
from smskd.methods._features import BatchNorm, FeatureMethod
from smskd.methods.kd import kd_loss
from smskd.pair import Pair
from smskd.precision import full_precision


class Adaption(nn.Module):
    """Brings a feature of one network into the channels and the size of the other's."""

    def __init__(self, from_shape: tuple[int, ...], to_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.size = (to_shape[1], to_shape[2])
        self.convolution = nn.Conv2d(from_shape[0], to_shape[0], 1, bias=False)
        self.norm = BatchNorm(to_shape[0])

    def forward(self, feature: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H', W')."""
        adapted: Tensor = self.norm(self.convolution(feature))
        if adapted.shape[2:] == self.size:
            return adapted
        if adapted.shape[2] >= self.size[0]:
            return F.adaptive_avg_pool2d(adapted, self.size)
        return F.interpolate(adapted, self.size, mode="nearest")


def chosen_spots(policy_logits: Tensor, temperature: float) -> Tensor:
    """Straight-through Gumbel-softmax choices: 1 where a sample is distilled, shape (N, spots).

    Args:
        policy_logits: shape (N, spots, 2).
        temperature: of the softmax through which gradients flow.
    """
    return F.gumbel_softmax(full_precision(policy_logits), tau=temperature, hard=True)[..., 0]


def routing_loss(routed: Tensor, alone: Tensor, chosen: Tensor, factor: float) -> Tensor:
    """What the policy is trained on: the classification loss of the multi-path network, a scalar.

    It counts `factor` times where it is above the student's own, one over `factor` times where it
    is below; and at least half of the samples should take the last spot.

    Args:
        routed: cross-entropy of the multi-path network, a scalar.
        alone: cross-entropy of the student, a scalar without gradient.
        chosen: choices at the last spot, shape (N,).
        factor: γ ≥ 1.
    """
    weight = torch.where(routed.detach() > alone, factor, 1 / factor)
    return weight * routed + (len(chosen) / 2 - chosen.sum()).clamp_min(0)


@METHODS.register("sakd")
class SAKD(Method):
    """Spot-adaptive distillation, around any set of feature methods, and KD at the last spot.

    A policy on the embeddings of both networks makes, for each sample and each spot (tap pairs,
    then the logits), a two-way choice. A multi-path network takes each block from the teacher or
    from the student, with adaption layers in between; its classification loss trains policy and
    adaption layers and nothing else. The student is distilled where the policy chose the teacher.
    As in the authors' code the policy is one linear layer, it and the adaption layers learn at a
    rate and with a weight decay of their own, and the labels count twice beside it.

    Args:
        methods: feature methods, each with its default weight and settings.
        kd_weight: weight of the KD loss at the last spot.
        temperature: of that KD loss.
        policy_temperature: of the Gumbel-softmax.
        factor: how much more the multi-path network's loss counts where it is above the
            student's; the inverse where it is below.
        policy_lr: peak of the learning rate of policy and adaption layers, which rises and falls
            with the stage's.
        policy_weight_decay: of policy and adaption layers.
        teacher_bias: how far the policy leans to the teacher at first, as a logit; the authors
            take 10, at which everything is distilled, where both networks are of one family.

    Raises:
        ValueError: when a weight or temperature is impossible.
        UnknownNameError: when a method is not a feature method.
    """

    family = "feature"
    paper = "Song et al. 2022, arXiv 2205.02399"
    formula = "Σ_spots mean_i(chosen_i,spot · L_spot,i(s, t)), chosen by a learnt policy"
    needs = ("features", "embedding", "labels")
    default_ce_weight = 2.0

    def __init__(
        self,
        *,
        methods: tuple[str, ...] = ("at",),
        kd_weight: float = 1.0,
        temperature: float = 4.0,
        policy_temperature: float = 5.0,
        factor: float = 2.0,
        policy_lr: float = 0.025,
        policy_weight_decay: float = 1e-3,
        teacher_bias: float = 0.0,
    ) -> None:
        super().__init__()
        if temperature <= 0 or policy_temperature <= 0:
            raise ValueError(
                f"temperatures must be positive, but got {temperature=}, {policy_temperature=}"
            )
        if kd_weight < 0 or factor < 1:
            raise ValueError(
                f"kd_weight must not be negative and factor at least 1, but got {kd_weight=}, "
                f"{factor=}"
            )
        if policy_lr <= 0 or policy_weight_decay < 0:
            raise ValueError(
                "policy_lr must be positive and policy_weight_decay not negative, but got "
                f"{policy_lr=}, {policy_weight_decay=}"
            )
        self.kd_weight, self.temperature = kd_weight, temperature
        self.policy_lr, self.policy_weight_decay = policy_lr, policy_weight_decay
        self.teacher_bias = teacher_bias
        self.policy_temperature, self.factor = policy_temperature, factor
        self.wrapped = nn.ModuleDict({name: _feature_method(name) for name in methods})

    def build(self, pair: Pair) -> None:
        super().build(pair)
        self._networks = (pair.student, pair.teacher)
        for method in self.wrapped.values():
            cast(Method, method).build(pair)
        spots = len(pair.feature_shapes) + 1
        student_width = cast(int, pair.student_shapes.embedding)
        teacher_width = cast(int, pair.teacher_shapes.embedding)
        self.policy = nn.Linear(student_width + teacher_width, 2 * spots)
        with torch.no_grad():
            self.policy.bias[0::2] += self.teacher_bias
        shapes = pair.feature_shapes
        self.to_teacher = nn.ModuleList(
            Adaption(student_shape, teacher_shape) for student_shape, teacher_shape in shapes
        )
        self.to_student = nn.ModuleList(
            Adaption(teacher_shape, student_shape) for student_shape, teacher_shape in shapes
        )

    def paces(self) -> list[Pace]:
        routing = (self.policy, self.to_teacher, self.to_student)
        parameters = [parameter for part in routing for parameter in part.parameters()]
        return [Pace(parameters, 1.0, self.policy_weight_decay, self.policy_lr)]

    def forward(
        self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        chosen = self._choose(student, teacher)
        alone = F.cross_entropy(full_precision(student.logits), batch.labels).detach()
        routed = F.cross_entropy(self._routed(batch, chosen), batch.labels)
        policy_loss = routing_loss(routed, alone, chosen[:, -1], self.factor)
        return policy_loss + self._distilled(student, teacher, chosen.detach(), progress)

    def _choose(self, student: Signals, teacher: Signals) -> Tensor:
        embeddings = [
            full_precision(cast(Tensor, signals.embedding)) for signals in (teacher, student)
        ]
        logits = self.policy(torch.cat(embeddings, dim=1).detach())
        return chosen_spots(logits.unflatten(1, (-1, 2)), self.policy_temperature)

    def _routed(self, batch: Batch, chosen: Tensor) -> Tensor:
        """Logits of the multi-path network, shape (N, classes)."""

        def exchange(place: int, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
            take = chosen[:, place, None, None, None].to(student.dtype)
            to_student = (1 - take) * student + take * self.to_student[place](teacher)
            to_teacher = (1 - take) * self.to_teacher[place](student) + take * teacher
            return to_student, to_teacher

        images = (batch.images, batch.seen_by_teacher)
        student_logits, teacher_logits = run_in_lockstep(*self._networks, images, exchange)
        last = chosen[:, -1:]
        return (1 - last) * full_precision(student_logits) + last * full_precision(teacher_logits)

    def _distilled(
        self, student: Signals, teacher: Signals, chosen: Tensor, progress: Progress
    ) -> Tensor:
        loss = kd_loss(student.logits, teacher.logits, self.temperature)
        total = self.kd_weight * (chosen[:, -1] * loss).mean()
        for module in self.wrapped.values():
            method = cast(FeatureMethod, module)
            spots = method.spot_losses(student, teacher, progress)
            total = total + method.default_weight * (chosen[:, :-1].T * spots).mean(1).sum()
        return total


def _feature_method(name: str) -> FeatureMethod:
    kinds = {key: kind for key, kind in METHODS.items() if issubclass(kind, FeatureMethod)}
    if name not in kinds:
        raise unknown_name("feature method", name, kinds)
    return kinds[name]()
