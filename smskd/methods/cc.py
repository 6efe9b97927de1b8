"""CC: samples correlate in the student's embedding as they do in the teacher's."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import METHODS, Method, Progress
from smskd.methods._relations import inner_products, unit_rows
from smskd.precision import full_precision


def correlations(embedding: Tensor, gamma: float, order: int) -> Tensor:
    """Gaussian kernel exp(−γ ‖x_i − x_j‖²) between samples on the unit sphere: shape (N, N).

    Args:
        embedding: shape (N, D).
        gamma: γ > 0.
        order: the kernel's Taylor series in the cosine is cut off after this power.
    """
    rows = unit_rows(embedding)
    cosines = inner_products(rows, rows)
    terms = [(2 * gamma) ** p / math.factorial(p) * cosines**p for p in range(order + 1)]
    return math.exp(-2 * gamma) * torch.stack(terms).sum(0)


def cc_losses(student: Tensor, teacher: Tensor, gamma: float, order: int) -> Tensor:
    """Mean squared difference of each sample's correlations with all: shape (N,).

    Peng et al., "Correlation Congruence for Knowledge Distillation" (2019), equations 6 and 10.

    Args:
        student, teacher: embeddings, shapes (N, D) and (N, E).
        gamma, order: of the kernel.
    """
    student_correlations = correlations(full_precision(student), gamma, order)
    teacher_correlations = correlations(full_precision(teacher), gamma, order)
    return (student_correlations - teacher_correlations).square().mean(1)


def cc_loss(student: Tensor, teacher: Tensor, gamma: float, order: int) -> Tensor:
    """Mean squared difference of the correlations: a scalar.

    Args: as `cc_losses`.
    """
    return cc_losses(student, teacher, gamma, order).mean()


@METHODS.register("cc")
class CC(Method):
    """Correlation congruence of what the classifiers see.

    The congruence of single samples, which the paper adds, is left to KD. So are its learnt
    embeddings: the correlations of N samples are N × N whatever the widths, and embeddings that
    learn could lower the loss by making all samples alike.

    Args:
        gamma: how quickly the Gaussian kernel falls with the distance.
        order: where its Taylor series ends.

    Raises:
        ValueError: unless gamma is positive and order at least 1.
    """

    family = "relation"
    paper = "Peng et al. 2019, arXiv 1904.01802"
    formula = "mean((C(s) − C(t))²), C_ij = Taylor_P of exp(−γ‖x_i − x_j‖²), x of unit length"
    needs = ("embedding",)
    relates_samples = True
    holds = True
    default_weight = 100.0

    def __init__(self, *, gamma: float = 0.4, order: int = 2) -> None:
        super().__init__()
        if gamma <= 0:
            raise ValueError(f"gamma must be positive, but got {gamma=}")
        if order < 1:
            raise ValueError(f"order must be at least 1, but got {order=}")
        self.gamma = gamma
        self.order = order

    def forward(
        self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        assert student.embedding is not None and teacher.embedding is not None
        return cc_loss(student.embedding, teacher.embedding, self.gamma, self.order)

    def held_losses(
        self, student: Signals, reference: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        assert student.embedding is not None and reference.embedding is not None
        return cc_losses(student.embedding, reference.embedding, self.gamma, self.order)
