"""MSE: the student's logits match the teacher's, each by its own size."""

from __future__ import annotations

from torch import Tensor

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import METHODS, Method, Progress
from smskd.precision import full_precision


def mse_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the logits: shape (N,).

    Kim et al., "Comparing Kullback-Leibler Divergence and Mean Squared Error Loss in Knowledge
    Distillation" (2021), equation 3, averaged over classes.

    Args:
        student, teacher: logits, shape (N, classes).
    """
    return (full_precision(student) - full_precision(teacher)).square().mean(1)


@METHODS.register("mse")
class MSE(Method):
    """Regression of the teacher's logits."""

    family = "response"
    paper = "Kim et al. 2021, arXiv 2105.08919"
    formula = "mean((s − t)²) on logits"
    holds = True
    default_ce_weight = 0.0

    def forward(
        self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        return mse_loss(student.logits, teacher.logits).mean()

    def held_losses(
        self, student: Signals, reference: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        return mse_loss(student.logits, reference.logits)
