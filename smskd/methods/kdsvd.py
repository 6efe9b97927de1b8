"""KDSVD: the student's main patterns change from tap to tap as the teacher's do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from foundation.errors import ModelMismatchError
from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import METHODS, Method, Progress
from smskd.methods._features import resized, to_coarser
from smskd.pair import Pair
from smskd.precision import full_precision

# The student's vectors to choose from, beside as many as the teacher has.
_SPARE = 3
# Positions a side; two neighbouring taps are compared position by position.
_MOST_PLACES = 8
# Steps of power iteration, each with the matrix to the power of 2².
_STEPS = 8
_SQUARINGS = 2
# A pattern with less than this share of the squared activations is rounding, and counts as none.
_SMALLEST_SHARE = 1e-6
_TINY = 1e-30


def singular_vectors(matrix: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Right singular vectors of the largest singular values, by power iteration and deflation.

    Gradients are those of the iteration, so they stay finite where singular values coincide or
    vanish; those of an exact decomposition do not. Where values are far apart both agree.

    Args:
        matrix: shape (N, M, P).
        count: how many.

    Returns:
        Vectors, shape (N, P, count), of unit length, and the values' shares of the matrix's
        norm, shape (N, count). Vectors past the rank are zero.
    """
    scaled = F.normalize(matrix.flatten(1), dim=1, eps=_SMALLEST_SHARE).view_as(matrix)
    gram = torch.bmm(scaled.transpose(1, 2), scaled)
    vectors, values = [], []
    for _ in range(count):
        vector = _largest(gram)
        image = torch.bmm(gram, vector)
        share = torch.bmm(vector.transpose(1, 2), image)
        has_pattern = share > _SMALLEST_SHARE
        vector, image = (torch.where(has_pattern, column, 0.0) for column in (vector, image))
        outer = torch.bmm(image, vector.transpose(1, 2))
        # (I − vvᵀ) G (I − vvᵀ), which is positive however well v has converged.
        gram = gram - outer - outer.transpose(1, 2) + share * vector @ vector.transpose(1, 2)
        vectors.append(vector)
        # The square root has no gradient at zero, so what is not there is kept out of it.
        values.append(
            torch.where(has_pattern, torch.where(has_pattern, share, 1.0).sqrt(), 0.0).flatten(1)
        )
    return torch.cat(vectors, 2), torch.cat(values, 1)


def _largest(gram: Tensor) -> Tensor:
    """The eigenvector, shape (N, P, 1), of the largest eigenvalue of a matrix (N, P, P)."""
    power = gram
    for _ in range(_SQUARINGS):
        power = _unit_trace(torch.bmm(power, power))
    # The column with the largest diagonal is farthest from having nothing of the eigenvector.
    start = power.diagonal(dim1=1, dim2=2).argmax(1)
    vector = power.gather(2, start[:, None, None].expand(-1, power.shape[1], 1))
    for _ in range(_STEPS):
        vector = torch.bmm(power, F.normalize(vector, dim=1, eps=_TINY))
    return F.normalize(vector, dim=1, eps=_TINY)


def _unit_trace(matrix: Tensor) -> Tensor:
    trace = matrix.diagonal(dim1=1, dim2=2).sum(1)
    return matrix / trace.clamp_min(_TINY)[:, None, None]


def aligned(student: Tensor, teacher: Tensor) -> Tensor:
    """For each of the teacher's vectors the student's nearest in direction, with its sign.

    Args:
        student: shape (N, P, k').
        teacher: shape (N, P, k).

    Returns:
        Shape (N, P, k).
    """
    cosines = torch.bmm(student.detach().transpose(1, 2), teacher)
    nearest = cosines.abs().argmax(1, keepdim=True)
    signs = cosines.gather(1, nearest).sign()
    return student.gather(2, nearest.expand(-1, student.shape[1], -1)) * signs


def kdsvd_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], vectors: int) -> Tensor:
    """Squared difference of how singular vectors change between neighbouring taps: shape (N,).

    Lee et al., "Self-supervised Knowledge Distillation Using Singular Value Decomposition" (2018),
    its radial basis functions of singular vectors: per tap the feature as a matrix (C, H·W) and its
    first singular vectors, the student's aligned to the teacher's, both scaled by the teacher's
    values; then exp(−(v_i − v_j)² / 8) of all entries of neighbouring taps, and the sum of squared
    differences. The paper takes the vectors over channels, which must then be as many in both
    networks; here they are those over positions.

    Args:
        student, teacher: features tap by tap, shape (N, C, H, W) each; C may differ; maps are
            averaged down to the coarser one's H and W, and to 8×8.
        vectors: how many, from the largest singular value on.
    """
    student_taps, teacher_taps = [], []
    for student_map, teacher_map in zip(student, teacher, strict=True):
        student_matrix, teacher_matrix = _matrices(student_map, teacher_map)
        # Autocast would take the products in half precision.
        with torch.autocast(student_map.device.type, enabled=False):
            teacher_vectors, teacher_values = singular_vectors(teacher_matrix, vectors)
            student_vectors, _ = singular_vectors(student_matrix, vectors + _SPARE)
            scale = F.normalize(teacher_values, dim=1)[:, None]
            student_taps.append(aligned(student_vectors, teacher_vectors) * scale)
            teacher_taps.append(teacher_vectors * scale)
    changes = zip(_changes(student_taps), _changes(teacher_taps), strict=True)
    return torch.stack(
        [
            (student_change - teacher_change).square().flatten(1).sum(1)
            for student_change, teacher_change in changes
        ]
    ).sum(0)


def _matrices(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    student_map, teacher_map = to_coarser(full_precision(student), full_precision(teacher))
    size = [min(side, _MOST_PLACES) for side in student_map.shape[2:]]
    return resized(student_map, *size).flatten(2), resized(teacher_map, *size).flatten(2)


def _changes(taps: list[Tensor]) -> list[Tensor]:
    """Between each tap (N, P, k) and the next (N, Q, k): shape (N, Q, P, k), from 0 to 1."""
    return [
        torch.exp(-(after[:, :, None] - before[:, None]).square() / 8)
        for before, after in pairwise(taps)
    ]


@METHODS.register("kdsvd")
class KDSVD(Method):
    """Distillation of singular vectors, summed over all neighbouring taps.

    A tap of one position has one pattern only and teaches nothing.

    Args:
        vectors: how many singular vectors a tap.

    Raises:
        ValueError: unless there is at least one.
    """

    family = "feature"
    paper = "Lee et al. 2018, arXiv 1807.06819"
    formula = "Σ_taps Σ (rbf(v_s, v_s') − rbf(v_t, v_t'))², v the first singular vectors of a tap"
    needs = ("features",)
    holds = True

    def __init__(self, *, vectors: int = 1) -> None:
        super().__init__()
        if vectors < 1:
            raise ValueError(f"at least 1 vector is compared, but got {vectors=}")
        self.vectors = vectors

    def build(self, pair: Pair) -> None:
        super().build(pair)
        if len(pair.feature_shapes) < 2:
            raise ModelMismatchError(
                f"{type(self).__name__} compares neighbouring taps, but student and teacher have "
                "one in common; name more taps yourself or choose another method"
            )

    def forward(
        self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        return kdsvd_loss(student.features, teacher.features, self.vectors).mean()

    def held_losses(
        self, student: Signals, reference: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        return kdsvd_loss(student.features, reference.features, self.vectors)
