"""PKT: a sample's neighbours are as probable in the student's embedding as in the teacher's."""

from __future__ import annotations

from torch import Tensor

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import METHODS, Method, Progress
from smskd.methods._relations import inner_products, unit_rows
from smskd.precision import full_precision

# Opposite samples would have probability 0, whose logarithm is infinite.
_LEAST_KERNEL = 1e-7


def neighbour_probabilities(embedding: Tensor) -> Tensor:
    """How probable each sample is as a neighbour of each: shape (N, N), rows sum to 1.

    Args:
        embedding: shape (N, D).
    """
    rows = unit_rows(embedding)
    kernel = ((inner_products(rows, rows) + 1) / 2).clamp_min(_LEAST_KERNEL)
    return kernel / kernel.sum(1, keepdim=True)


def pkt_losses(student: Tensor, teacher: Tensor) -> Tensor:
    """Divergence of each sample's neighbour probabilities, averaged over neighbours: shape (N,).

    Passalis and Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer"
    (2018), equations 3 to 6 with the cosine kernel. As in the authors' code, a sample is a
    neighbour of itself too; the weight that the field uses belongs to that.

    Args:
        student, teacher: embeddings, shapes (N, D) and (N, E).
    """
    student_probabilities = neighbour_probabilities(full_precision(student))
    teacher_probabilities = neighbour_probabilities(full_precision(teacher))
    return (
        teacher_probabilities * (teacher_probabilities.log() - student_probabilities.log())
    ).mean(1)


def pkt_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Divergence of the neighbour probabilities, averaged over all pairs of samples: a scalar.

    Args: as `pkt_losses`.
    """
    return pkt_losses(student, teacher).mean()


@METHODS.register("pkt")
class PKT(Method):
    """Probabilistic knowledge transfer on what the classifiers see."""

    family = "relation"
    paper = "Passalis and Tefas 2018, arXiv 1803.10837"
    formula = "mean_ij(p(t) · log(p(t) / p(s))), p_ij ∝ (1 + cos(x_i, x_j)) / 2 on embeddings"
    needs = ("embedding",)
    relates_samples = True
    holds = True
    default_weight = 30000.0

    def forward(
        self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        assert student.embedding is not None and teacher.embedding is not None
        return pkt_loss(student.embedding, teacher.embedding)

    def held_losses(
        self, student: Signals, reference: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        assert student.embedding is not None and reference.embedding is not None
        return pkt_losses(student.embedding, reference.embedding)
