"""DKD: what the teacher says of the true class, and of the others among themselves, apart."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import METHODS, Method, Progress
from smskd.precision import full_precision


def decoupled(logits: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the true class against all others, and of the others among themselves.

    Args:
        logits: shape (N, classes).
        true: True at each sample's class, shape (N, classes).

    Returns:
        Shapes (N, 2) and (N, classes); in the second, 0 at the true class.
    """
    others = logits.masked_fill(true, -math.inf)
    all_together, others_together = logits.logsumexp(1), others.logsumexp(1)
    truth = logits.masked_fill(~true, 0.0).sum(1)
    against = torch.stack([truth, others_together], dim=1) - all_together.unsqueeze(1)
    return against, (others - others_together.unsqueeze(1)).masked_fill(true, 0.0)


def dkd_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    temperature: float,
    *,
    alpha: float,
    beta: float,
) -> Tensor:
    """Divergence in the true class plus divergence among the others, scaled by τ²: shape (N,).

    Zhao et al., "Decoupled Knowledge Distillation" (2022), equation 7.

    Args:
        student, teacher: logits, shape (N, classes).
        labels: classes, shape (N,), int64.
        temperature: τ > 0.
        alpha: weight of the true class.
        beta: weight of the others.
    """
    true = F.one_hot(labels, student.shape[1]).bool()
    student_parts = decoupled(full_precision(student) / temperature, true)
    teacher_parts = decoupled(full_precision(teacher) / temperature, true)
    target, others = (
        F.kl_div(student_part, teacher_part, reduction="none", log_target=True).sum(1)
        for student_part, teacher_part in zip(student_parts, teacher_parts, strict=True)
    )
    return (alpha * target + beta * others) * temperature**2


@METHODS.register("dkd")
class DKD(Method):
    """Decoupled knowledge distillation.

    Args:
        alpha: weight of the true class.
        beta: weight of the other classes; the paper takes 2 to 8, more for a surer teacher.
        temperature: softening of all distributions.
        warmup_epochs: the loss grows linearly over these first epochs of the stage.

    Raises:
        ValueError: unless the temperature is positive and no other setting negative.
    """

    family = "response"
    paper = "Zhao et al. 2022, arXiv 2203.08679"
    formula = "τ² · (α · KL(true class or not) + β · KL(among the other classes))"
    needs = ("class labels",)
    holds = True

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        beta: float = 8.0,
        temperature: float = 4.0,
        warmup_epochs: int = 20,
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, but got {temperature=}")
        if alpha < 0 or beta < 0:
            raise ValueError(f"weights must not be negative, but got {alpha=}, {beta=}")
        if warmup_epochs < 0:
            raise ValueError(f"warmup_epochs must not be negative, but got {warmup_epochs=}")
        self.alpha = alpha
        self.beta = beta
        self.temperature = temperature
        self.warmup_epochs = warmup_epochs

    def forward(
        self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        return self._losses(student, teacher, batch, progress).mean()

    def held_losses(
        self, student: Signals, reference: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        return self._losses(student, reference, batch, progress)

    def _losses(
        self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        losses = dkd_loss(
            student.logits,
            teacher.logits,
            batch.labels,
            self.temperature,
            alpha=self.alpha,
            beta=self.beta,
        )
        return progress.risen(self.warmup_epochs) * losses
