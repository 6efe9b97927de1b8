"""DIST: the student's probabilities rise and fall with the teacher's, by sample and by class."""

from __future__ import annotations

from torch import Tensor

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import METHODS, Method, Progress
from smskd.methods._relations import unit_deviations
from smskd.precision import full_precision


def pearson_distance(first: Tensor, second: Tensor) -> Tensor:
    """1 − Pearson's correlation of the rows: shape (N,), in 0..2.

    It is half the squared distance between the standardised rows. So it is 0 between two constant
    rows, which have no correlation, and 1/2 between a constant row and another.

    Args:
        first, second: shape (N, D).
    """
    return (unit_deviations(first) - unit_deviations(second)).square().sum(1) / 2


def dist_loss(
    student: Tensor, teacher: Tensor, beta: float, gamma: float, temperature: float
) -> Tensor:
    """Distance between classes within a sample, and between samples within a class: a scalar.

    Huang et al., "Knowledge Distillation from A Stronger Teacher" (2022), equations 8 to 10, times
    τ² as in the authors' code.

    Args:
        student, teacher: logits, shape (N, classes).
        beta: weight of the inter-class relation, the rows of the probabilities.
        gamma: weight of the intra-class relation, the columns.
        temperature: τ > 0.
    """
    student_probabilities = (full_precision(student) / temperature).softmax(1)
    teacher_probabilities = (full_precision(teacher) / temperature).softmax(1)
    inter_class = pearson_distance(student_probabilities, teacher_probabilities).mean()
    intra_class = pearson_distance(student_probabilities.T, teacher_probabilities.T).mean()
    return (beta * inter_class + gamma * intra_class) * temperature**2


@METHODS.register("dist")
class DIST(Method):
    """Correlation of the predictions, which asks less of the student than to equal them.

    Args:
        beta: weight of the relation between classes.
        gamma: weight of the relation between samples.
        temperature: softening of both distributions; the paper takes 1 for ImageNet, 4 for CIFAR.

    Raises:
        ValueError: unless the temperature is positive and no weight negative.
    """

    family = "response"
    paper = "Huang et al. 2022, arXiv 2205.10536"
    formula = "τ² · (β · (1 − ρ(rows)) + γ · (1 − ρ(columns))) of softmax(·/τ), ρ Pearson's"
    relates_samples = True

    def __init__(self, *, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, but got {temperature=}")
        if beta < 0 or gamma < 0:
            raise ValueError(f"weights must not be negative, but got {beta=}, {gamma=}")
        self.beta = beta
        self.gamma = gamma
        self.temperature = temperature

    def forward(
        self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        return dist_loss(student.logits, teacher.logits, self.beta, self.gamma, self.temperature)
