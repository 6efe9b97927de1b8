"""SP: samples that look alike to the teacher look alike to the student."""

from __future__ import annotations

from torch import Tensor

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import METHODS, Method, Progress
from smskd.methods._relations import inner_products, unit_rows
from smskd.precision import full_precision


def similarities(feature: Tensor) -> Tensor:
    """How alike all samples are: inner products, each row of length 1; shape (N, N).

    Args:
        feature: shape (N, ...).
    """
    rows = feature.flatten(1)
    return unit_rows(inner_products(rows, rows))


def sp_losses(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of each sample's similarities to all: shape (N,).

    Tung and Mori, "Similarity-Preserving Knowledge Distillation" (2019), equations 1 to 4.

    Args:
        student, teacher: features, shapes (N, ...); only N must be the same.
    """
    student_similarities = similarities(full_precision(student))
    teacher_similarities = similarities(full_precision(teacher))
    return (student_similarities - teacher_similarities).square().mean(1)


def sp_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the similarities: a scalar.

    Args: as `sp_losses`.
    """
    return sp_losses(student, teacher).mean()


@METHODS.register("sp")
class SP(Method):
    """Similarity-preserving distillation on the deepest features."""

    family = "relation"
    paper = "Tung and Mori 2019, arXiv 1907.09682"
    formula = "mean((G(s) − G(t))²), G(x) = x·xᵀ with rows of length 1, on the last features"
    needs = ("features",)
    relates_samples = True
    holds = True
    default_weight = 3000.0

    def forward(
        self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        return sp_loss(student.features[-1], teacher.features[-1])

    def held_losses(
        self, student: Signals, reference: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        return sp_losses(student.features[-1], reference.features[-1])
