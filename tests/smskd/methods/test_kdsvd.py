from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from foundation.errors import ModelMismatchError
from smskd.methods.kdsvd import KDSVD, aligned, kdsvd_loss, singular_vectors
from smskd.pair import Pair


def with_values(values: list[float], rows: int, columns: int, seed: int = 0) -> Tensor:
    """A batch of two matrices with these singular values, shape (2, rows, columns)."""
    numbers = torch.Generator().manual_seed(seed)
    left = torch.randn((2, rows, rows), generator=numbers, dtype=torch.float64)
    right = torch.randn((2, columns, columns), generator=numbers, dtype=torch.float64)
    count = len(values)
    left, right = torch.linalg.qr(left)[0][:, :, :count], torch.linalg.qr(right)[0][:, :, :count]
    return left * torch.tensor(values, dtype=torch.float64) @ right.transpose(1, 2)


@pytest.mark.parametrize(("rows", "columns"), [(6, 4), (4, 9)])
def test_vectors_and_values_are_those_of_the_decomposition(rows: int, columns: int) -> None:
    matrix = with_values([4.0, 3.0, 2.0, 1.0], rows, columns)
    vectors, values = singular_vectors(matrix, 3)
    expected = torch.linalg.svd(matrix)[2][:, :3].transpose(1, 2)
    assert (vectors * expected).sum(1).abs().flatten().tolist() == pytest.approx(
        [1.0] * 6, abs=1e-6
    )
    length = math.sqrt(16 + 9 + 4 + 1)
    assert values[0].tolist() == pytest.approx([4 / length, 3 / length, 2 / length], abs=1e-6)


def test_the_gradient_is_the_decompositions_where_its_values_are_apart() -> None:
    matrix = with_values([4.0, 1.0, 0.5], 3, 5)
    torch.manual_seed(0)
    towards = torch.randn(2, 5, dtype=torch.float64)
    gradients = []
    for vector_of in (
        lambda m: singular_vectors(m, 1)[0][:, :, 0],
        lambda m: torch.linalg.svd(m, full_matrices=False)[2][:, 0],
    ):
        leaf = matrix.clone().requires_grad_()
        ((vector_of(leaf) * towards).sum(1) ** 2).sum().backward()
        gradients.append(leaf.grad)
    assert torch.allclose(*gradients, atol=1e-6)


@pytest.mark.parametrize(
    "matrix",
    [
        torch.zeros(1, 4, 6),
        torch.eye(4)[None],
        torch.ones(1, 4, 6),
        torch.ones(1, 1, 1),
        1e-20 * torch.ones(1, 4, 6),
    ],
)
def test_equal_and_missing_values_have_gradients_with_a_bound(matrix: Tensor) -> None:
    leaf = matrix.clone().requires_grad_()
    vectors, values = singular_vectors(leaf, 4)
    (vectors.sum() + values.sum()).backward()
    assert vectors.isfinite().all()
    assert leaf.grad.abs().max() < 1e6


def test_vectors_past_the_rank_are_zero_and_the_others_as_long_as_one() -> None:
    vectors, values = singular_vectors(with_values([3.0, 1.0], 4, 5).float(), 4)
    assert vectors.norm(dim=1)[0].tolist() == pytest.approx([1, 1, 0, 0], abs=1e-4)
    assert values[0].tolist() == pytest.approx([0.9**0.5, 0.1**0.5, 0, 0], abs=1e-4)


def test_each_vector_of_the_teacher_gets_the_students_nearest_with_its_sign() -> None:
    teacher = torch.eye(3)[None, :, :2]
    student = torch.tensor([[[0.0, -0.9, 0.1], [1.0, 0.0, 0.0], [0.0, 0.1, 0.9]]])
    assert aligned(student, teacher)[0].T.tolist() == [
        pytest.approx([0.9, 0.0, -0.1]),
        pytest.approx([0.0, 1.0, 0.0]),
    ]


def test_the_loss_is_that_of_numpy_and_loops() -> None:
    torch.manual_seed(0)
    student = [torch.randn(2, 3, 2, 2, dtype=torch.float64) + 2 for _ in range(3)]
    teacher = [torch.randn(2, 4, 2, 2, dtype=torch.float64) + 2 for _ in range(3)]
    for sample, loss in enumerate(kdsvd_loss(student, teacher, 1).tolist()):
        ours, theirs = [], []
        for s, t in zip(student, teacher, strict=True):
            t_first = np.linalg.svd(t[sample].flatten(1).numpy())[2][0]
            s_all = np.linalg.svd(s[sample].flatten(1).numpy())[2][:3]
            nearest = max(s_all, key=lambda v: abs(v @ t_first))
            # Signs of the teacher are free; one with a positive sum is the same for all taps.
            t_first = t_first * np.sign(t_first.sum())
            theirs.append(t_first)
            ours.append(nearest * np.sign(nearest @ t_first))
        expected = sum(
            (
                math.exp(-((ours[i][p] - ours[i + 1][q]) ** 2) / 8)
                - math.exp(-((theirs[i][p] - theirs[i + 1][q]) ** 2) / 8)
            )
            ** 2
            for i in range(2)
            for p in range(4)
            for q in range(4)
        )
        assert loss == pytest.approx(expected, rel=1e-3)
        assert expected > 1e-6


@pytest.mark.parametrize("vectors", [1, 3])
def test_a_student_that_says_what_the_teacher_says_has_nothing_to_learn(vectors: int) -> None:
    taps = [
        torch.randn(2, 4, 7, 7, requires_grad=True),
        torch.randn(2, 5, 3, 3, requires_grad=True),
    ]
    loss = kdsvd_loss(taps, [tap.detach() for tap in taps], vectors)
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([0.0, 0.0], abs=1e-9)
    assert max(tap.grad.abs().max().item() for tap in taps) < 1e-6


def test_neither_the_size_of_a_feature_nor_its_channels_order_counts() -> None:
    taps = [torch.randn(2, 4, 5, 5), torch.randn(2, 6, 3, 3)]
    others = [7 * tap.flip(1) for tap in taps]
    assert kdsvd_loss(others, taps, 1).abs().max() < 1e-9


def test_large_maps_are_compared_in_8_by_8_fields() -> None:
    coarse = [torch.randn(1, 3, 8, 8), torch.randn(1, 4, 8, 8)]
    fine = [tap.repeat_interleave(4, 2).repeat_interleave(4, 3) for tap in coarse]
    others = [torch.randn(1, 5, 32, 32), torch.randn(1, 5, 32, 32)]
    pooled = [tap.unflatten(3, (8, 4)).unflatten(2, (8, 4)).mean((3, 5)) for tap in others]
    expected = kdsvd_loss(coarse, pooled, 1).item()
    assert kdsvd_loss(fine, others, 1).item() == pytest.approx(expected, rel=1e-3)


def test_taps_of_one_position_teach_nothing() -> None:
    ours, theirs = [torch.rand(2, 3, 1, 1)] * 2, [torch.rand(2, 4, 1, 1)] * 2
    assert kdsvd_loss(ours, theirs, 1).tolist() == pytest.approx([0.0, 0.0], abs=1e-9)


def test_a_pattern_of_the_teacher_may_be_the_students_second() -> None:
    """Stripes along one way teach a student that has stronger ones along the other."""
    stripes = torch.tensor([1.0, -1.0]).repeat(4, 2)
    teacher = [stripes.expand(1, 1, 4, 4)] * 2
    student = [torch.stack([3 * stripes.T, stripes])[None]] * 2
    assert kdsvd_loss(student, teacher, 1).item() == pytest.approx(0.0, abs=1e-9)
    without = [tap[:, :1] for tap in student]
    assert kdsvd_loss(without, teacher, 1).item() > 1e-6


def test_a_single_tap_has_no_neighbour(pair_with: Callable[..., Pair]) -> None:
    with pytest.raises(ModelMismatchError, match=r"KDSVD compares neighbouring taps.*name more"):
        KDSVD().build(pair_with([(2, 4, 4)], [(3, 4, 4)]))


@pytest.mark.parametrize("vectors", [0, -1])
def test_no_vectors_at_all_are_refused_and_quoted(vectors: int) -> None:
    with pytest.raises(ValueError, match=rf"at least 1 vector .* but got vectors={vectors}"):
        KDSVD(vectors=vectors)
