"""RKD: the student keeps the distances and angles between samples that the teacher sees."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import METHODS, Method, Progress
from smskd.precision import full_precision


def differences_and_lengths(embedding: Tensor) -> tuple[Tensor, Tensor]:
    """Differences between all samples, and how long they are.

    Args:
        embedding: shape (N, D).

    Returns:
        Shapes (N, N, D) and (N, N).
    """
    differences = embedding.unsqueeze(0) - embedding.unsqueeze(1)
    squared = differences.square().sum(2)
    # The square root has no gradient at zero, so equal samples are kept out of it.
    apart = squared > 0
    return differences, torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0)


def relative_distances(embedding: Tensor) -> Tensor:
    """Euclidean distances between all samples, in units of their mean.

    Args:
        embedding: shape (N, D).

    Returns:
        Shape (N, N), diagonal zero, mean of the non-zero ones 1.
    """
    _, lengths = differences_and_lengths(embedding)
    apart = lengths > 0
    return lengths / lengths[apart].mean() if apart.any() else lengths


def angles(embedding: Tensor) -> Tensor:
    """Cosines of the angles that all triples of samples form.

    Args:
        embedding: shape (N, D).

    Returns:
        Shape (N, N, N): entry [j, i, k] is the cosine at sample j between i and k; 0 where two
        of the three are equal.
    """
    differences, lengths = differences_and_lengths(embedding)
    directions = differences / torch.where(lengths > 0, lengths, 1.0).unsqueeze(2)
    return torch.bmm(directions, directions.transpose(1, 2))


def rkd_losses(
    student: Tensor, teacher: Tensor, distance_weight: float, angle_weight: float
) -> Tensor:
    """Huber loss between each sample's relations in the two embeddings: shape (N,).

    Its distances to all samples, and the angles at it. Park et al., "Relational Knowledge
    Distillation" (2019), equations 6 and 9.

    Args:
        student, teacher: embeddings, shapes (N, D) and (N, E).
    """
    student, teacher = full_precision(student), full_precision(teacher)
    # Autocast would take the products of the directions in half precision again.
    with torch.autocast(student.device.type, enabled=False):
        distance = F.smooth_l1_loss(
            relative_distances(student), relative_distances(teacher), reduction="none"
        )
        angle = F.smooth_l1_loss(angles(student), angles(teacher), reduction="none")
    return distance_weight * distance.mean(1) + angle_weight * angle.mean((1, 2))


def rkd_loss(
    student: Tensor, teacher: Tensor, distance_weight: float, angle_weight: float
) -> Tensor:
    """Huber loss between the relations in the student's and the teacher's embeddings: a scalar.

    Args: as `rkd_losses`.
    """
    return rkd_losses(student, teacher, distance_weight, angle_weight).mean()


@METHODS.register("rkd")
class RKD(Method):
    """Relational distillation on what the classifiers see.

    Args:
        distance_weight: weight of the distances between pairs.
        angle_weight: weight of the angles in triples.

    Raises:
        ValueError: when a weight is negative.
    """

    family = "relation"
    paper = "Park et al. 2019, arXiv 1904.05068"
    formula = "25 · huber(d(s), d(t)) + 50 · huber(∠(s), ∠(t)) on embeddings"
    needs = ("embedding",)
    relates_samples = True
    holds = True

    def __init__(self, *, distance_weight: float = 25.0, angle_weight: float = 50.0) -> None:
        super().__init__()
        if distance_weight < 0 or angle_weight < 0:
            raise ValueError(
                f"weights must not be negative, but got {distance_weight=}, {angle_weight=}"
            )
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def forward(
        self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        assert student.embedding is not None and teacher.embedding is not None
        return self._losses(student.embedding, teacher.embedding).mean()

    def held_losses(
        self, student: Signals, reference: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        assert student.embedding is not None and reference.embedding is not None
        return self._losses(student.embedding, reference.embedding)

    def _losses(self, student: Tensor, teacher: Tensor) -> Tensor:
        return rkd_losses(student, teacher, self.distance_weight, self.angle_weight)
