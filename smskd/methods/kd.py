"""KD: the student matches the teacher's softened class probabilities."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import METHODS, Method, Progress
from smskd.precision import full_precision


def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Per-sample divergence of softened probabilities, scaled by the temperature squared.

    Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network" (2015), section 2:
    the factor τ² keeps the gradient's size when the temperature changes.

    Args:
        student, teacher: logits, shape (N, classes).
        temperature: τ > 0.

    Returns:
        τ² · KL(softmax(teacher/τ) ‖ softmax(student/τ)), shape (N,), in float32 or higher.
    """
    log_student = F.log_softmax(full_precision(student) / temperature, dim=1)
    log_teacher = F.log_softmax(full_precision(teacher) / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(1)
    return divergence * temperature**2


@METHODS.register("kd")
class KD(Method):
    """Knowledge distillation on logits.

    Args:
        temperature: softening of both distributions.

    Raises:
        ValueError: unless the temperature is positive.
    """

    family = "response"
    paper = "Hinton et al. 2015, arXiv 1503.02531"
    formula = "τ² · KL(softmax(t/τ) ‖ softmax(s/τ))"
    holds = True
    default_weight = 0.9
    default_ce_weight = 0.1

    def __init__(self, *, temperature: float = 4.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, but got {temperature=}")
        self.temperature = temperature

    def forward(
        self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        return kd_loss(student.logits, teacher.logits, self.temperature).mean()

    def held_losses(
        self, student: Signals, reference: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        return kd_loss(student.logits, reference.logits, self.temperature)
