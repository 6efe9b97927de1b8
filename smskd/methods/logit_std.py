"""Logit standardisation: KD that looks at the order of the logits and not at their size."""

from __future__ import annotations

import math

from torch import Tensor

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import METHODS, Method, Progress
from smskd.methods._relations import unit_deviations
from smskd.methods.kd import kd_loss
from smskd.precision import full_precision


def z_scores(logits: Tensor) -> Tensor:
    """Each sample's logits with mean 0 and standard deviation 1: shape (N, classes).

    Args:
        logits: shape (N, classes); where a sample's are all the same, its scores are 0.
    """
    return unit_deviations(full_precision(logits)) * math.sqrt(logits.shape[1])


def logit_std_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KD of the z-scores: shape (N,).

    Sun et al., "Logit Standardization in Knowledge Distillation" (2024), algorithms 1 and 2.

    Args:
        student, teacher: logits, shape (N, classes).
        temperature: the base temperature τ > 0, in units of the logits' standard deviation.
    """
    return kd_loss(z_scores(student), z_scores(teacher), temperature)


@METHODS.register("logit-std")
class LogitStandardisation(Method):
    """Knowledge distillation on standardised logits.

    Args:
        temperature: softening of both distributions, in standard deviations of the logits.

    Raises:
        ValueError: unless the temperature is positive.
    """

    family = "response"
    paper = "Sun et al. 2024, arXiv 2403.01427"
    holds = True
    formula = "τ² · KL(softmax(z(t)/τ) ‖ softmax(z(s)/τ)), z(x) = (x − mean x) / std x"
    default_weight = 9.0
    default_ce_weight = 0.1

    def __init__(self, *, temperature: float = 2.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, but got {temperature=}")
        self.temperature = temperature

    def forward(
        self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        return logit_std_loss(student.logits, teacher.logits, self.temperature).mean()

    def held_losses(
        self, student: Signals, reference: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        return logit_std_loss(student.logits, reference.logits, self.temperature)
