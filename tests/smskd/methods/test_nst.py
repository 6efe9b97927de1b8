from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from smskd.methods.nst import nst_loss


def by_loops(student: Tensor, teacher: Tensor) -> list[float]:
    """Sample by sample, channel pair by channel pair."""

    def channels(feature: Tensor) -> list[list[float]]:
        rows = feature.flatten(1).tolist()
        return [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in rows]

    def mean_kernel(first: list[list[float]], second: list[list[float]]) -> float:
        products = [sum(x * y for x, y in zip(a, b, strict=True)) for a in first for b in second]
        return sum(product**2 for product in products) / len(products)

    pairs = [(channels(s), channels(t)) for s, t in zip(student, teacher, strict=True)]
    return [mean_kernel(s, s) + mean_kernel(t, t) - 2 * mean_kernel(s, t) for s, t in pairs]


def test_the_loss_is_what_is_worked_out_by_hand() -> None:
    """Channels (1, 0) and (3/5, 4/5) against (0, 1): kernels 1, 1, 9/25 twice; 1; 0, 16/25."""
    student = torch.tensor([[[[2.0, 0.0]], [[3.0, 4.0]]]])
    teacher = torch.tensor([[[[0.0, 7.0]]]])
    expected = (1 + 1 + 2 * 9 / 25) / 4 + 1 - 2 * (0 + 16 / 25) / 2
    assert nst_loss(student, teacher).tolist() == pytest.approx([expected])


@pytest.mark.parametrize(("ours", "theirs", "side"), [(3, 5, 2), (2, 3, 4), (1, 1, 1), (9, 2, 3)])
def test_both_ways_to_work_it_out_are_what_loops_over_the_channels_give(
    ours: int, theirs: int, side: int
) -> None:
    torch.manual_seed(0)
    student = torch.randn(3, ours, side, side, dtype=torch.float64)
    teacher = torch.randn(3, theirs, side, side, dtype=torch.float64)
    assert nst_loss(student, teacher).tolist() == pytest.approx(
        by_loops(student, teacher), rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize("side", [2, 7])
def test_a_student_that_says_what_the_teacher_says_has_nothing_to_learn(side: int) -> None:
    feature = torch.randn(2, 3, side, side, dtype=torch.float64, requires_grad=True)
    loss = nst_loss(feature, feature.detach())
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([0.0, 0.0], abs=1e-12)
    assert feature.grad.abs().max() < 1e-12


def test_neither_the_order_nor_the_size_nor_the_sign_of_channels_counts() -> None:
    teacher = torch.randn(2, 4, 3, 3)
    student = teacher.flip(1) * torch.tensor([1.0, -2.0, 0.1, 30.0])[:, None, None]
    assert nst_loss(student, teacher).abs().max() < 1e-6


def test_the_finer_feature_is_averaged_down_before_they_are_compared() -> None:
    coarse = torch.randn(2, 3, 2, 2)
    fine = coarse.repeat_interleave(3, 2).repeat_interleave(3, 3)
    assert nst_loss(fine, coarse).abs().max() < 1e-6
    assert nst_loss(coarse, fine).abs().max() < 1e-6


def test_channels_at_rest_have_no_part_in_it_and_a_gradient_with_a_bound() -> None:
    student = torch.zeros(1, 2, 2, 2)
    student[0, 1] = 1
    student.requires_grad_()
    teacher = torch.ones(1, 1, 2, 2)
    loss = nst_loss(student, teacher)
    loss.sum().backward()
    # One of the two channels is the teacher's, the other is none: kernels 1/4, 1 and 1/2.
    assert loss.item() == pytest.approx(1 / 4 + 1 - 2 / 2)
    assert student.grad.abs().max() < 10


@pytest.mark.parametrize(("channels", "side"), [(2, 32), (64, 2)])
def test_the_cheaper_way_is_taken(channels: int, side: int) -> None:
    feature, places = torch.randn(1, channels, side, side), side**2
    with FlopCounterMode(display=False) as counter:
        nst_loss(feature, feature.clone())
    by_channels, by_places = 3 * channels**2 * places, 2 * places**2 * channels
    assert counter.get_total_flops() == 2 * min(by_channels, by_places)
