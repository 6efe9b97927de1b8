from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import Progress
from smskd.methods.at import AT, at_loss, attention_map


def test_the_attention_map_is_what_is_worked_out_by_hand() -> None:
    """Two channels, three places: mean squares 5, 4 and 1, then unit length."""
    feature = torch.tensor([[[[1.0, 2.0, -1.0]], [[3.0, -2.0, 1.0]]]])
    length = math.sqrt(5**2 + 4**2 + 1**2)
    assert attention_map(feature, 2.0).tolist() == [
        pytest.approx([5 / length, 4 / length, 1 / length])
    ]


def test_the_power_says_how_strongly_large_activations_count() -> None:
    feature = torch.tensor([[[[1.0, -3.0]]]])
    assert attention_map(feature, 1.0)[0].tolist() == pytest.approx(
        [1 / math.sqrt(10), 3 / math.sqrt(10)]
    )
    assert attention_map(feature, 4.0)[0].tolist() == pytest.approx(
        [1 / math.sqrt(6562), 81 / math.sqrt(6562)]
    )


@pytest.mark.parametrize("power", [2.0, 3.0])
def test_the_maps_gradient_is_that_of_its_values(power: float) -> None:
    """By finite differences, in first and second order; squares have a gradient of their own."""
    draw = torch.Generator().manual_seed(0)
    feature = torch.randn(2, 3, 2, 2, dtype=torch.float64, generator=draw).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: attention_map(x, power), feature)
    assert torch.autograd.gradgradcheck(lambda x: attention_map(x, power), feature)


def test_the_loss_is_what_is_worked_out_by_hand_sample_by_sample() -> None:
    """Maps (3/5, 4/5) and (1, 0): the mean of 0.4² and 0.8² is 0.4."""
    student = torch.tensor([[[[3.0, 4.0]]], [[[5.0, 0.0]]]])
    teacher = torch.tensor([[[[2.0, 0.0]], [[-2.0, 0.0]]]]).expand(2, -1, -1, -1)
    assert at_loss(student, teacher, 1.0).tolist() == pytest.approx([0.4, 0.0])


def test_a_student_that_says_what_the_teacher_says_has_nothing_to_learn() -> None:
    feature = torch.randn(2, 3, 7, 7, requires_grad=True)
    loss = at_loss(feature, feature.detach(), 2.0)
    loss.sum().backward()
    assert loss.tolist() == [0.0, 0.0]
    assert feature.grad.abs().max() == 0


def test_the_finer_feature_is_averaged_down_before_they_are_compared() -> None:
    fine = torch.tensor([[[[1.0, 3.0, 5.0, 7.0]]]])
    coarse = torch.tensor([[[[2.0, 6.0]]]])
    assert at_loss(fine, coarse, 2.0).item() == pytest.approx(0.0, abs=1e-12)
    assert at_loss(coarse, fine, 2.0).item() == pytest.approx(0.0, abs=1e-12)


def test_the_loss_sums_over_the_taps(said: Callable[..., Signals], batch: Batch) -> None:
    student = said(*[torch.tensor([[[[3.0, 4.0]]]])] * 3)
    teacher = said(*[torch.tensor([[[[1.0, 0.0]]]])] * 3)
    loss = AT(power=1.0)(student, teacher, batch, Progress(0, 1))
    assert loss.item() == pytest.approx(3 * 0.4)


@pytest.mark.parametrize("power", [0.99, 0.0, -2.0])
def test_a_power_whose_gradient_has_no_bound_is_refused_and_quoted(power: float) -> None:
    with pytest.raises(ValueError, match=rf"at least 1, but got power={power}"):
        AT(power=power)


def test_the_smallest_power_has_a_gradient_where_a_feature_is_at_rest() -> None:
    student = torch.zeros(1, 1, 2, 2, requires_grad=True)
    at_loss(student, torch.ones(1, 1, 2, 2), AT(power=1.0).power).sum().backward()
    assert student.grad.isfinite().all()
