from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import Progress
from smskd.methods.ofd import OFD, Margin, ofd_loss
from smskd.pair import Pair

START = Progress(0, 1)


def row(*values: float) -> Tensor:
    """One sample, one channel, one line of positions."""
    return torch.tensor([[[list(values)]]])


def test_the_loss_is_what_is_worked_out_by_hand() -> None:
    """Margin −1. Targets 2, 2, −1, −1, −0.5, 0; the student is over, under, over, under, ..."""
    teacher = row(2.0, 2.0, -3.0, -3.0, -0.5, 0.0)
    student = row(3.0, -1.0, 1.0, -2.0, -0.6, -4.0)
    expected = 1**2 + 3**2 + 2**2 + 0 + 0 + 0
    assert ofd_loss(student, teacher, torch.tensor([-1.0])).tolist() == [expected]


def test_the_loss_is_that_of_loops_over_samples_channels_and_places() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 2, 5), torch.randn(2, 3, 2, 5)
    margin = torch.tensor([-1.0, -0.2, 0.0])
    for sample, loss in enumerate(ofd_loss(student, teacher, margin).tolist()):
        expected = 0.0
        for channel, m in enumerate(margin.tolist()):
            ours, theirs = student[sample, channel].flatten(), teacher[sample, channel].flatten()
            for s, t in zip(ours.tolist(), theirs.tolist(), strict=True):
                target = max(t, m)
                if not s <= target <= 0:
                    expected += (s - target) ** 2
        assert loss == pytest.approx(expected, rel=1e-5)


def test_a_student_that_says_what_the_teacher_says_has_nothing_to_learn() -> None:
    """What lies below the margin is asked to rise to it no more than to fall."""
    feature = torch.randn(2, 3, 4, 4).requires_grad_()
    loss = ofd_loss(feature, feature.detach(), torch.tensor([-0.5, -1.0, 0.0]))
    loss.sum().backward()
    assert loss.tolist() == [0.0, 0.0]
    assert feature.grad.abs().max() == 0


def test_the_margin_is_the_mean_of_all_negative_values_that_came_by() -> None:
    margin = Margin(3)
    first = torch.tensor([[[[-1.0, 2.0]], [[0.0, 5.0]], [[-4.0, -2.0]]]])
    second = torch.tensor([[[[-2.0, -6.0]], [[3.0, 0.0]], [[1.0, 1.0]]]])
    assert margin(first).tolist() == [-1.0, 0.0, -3.0]
    assert margin(second).tolist() == [-3.0, 0.0, -3.0]
    assert margin.count.tolist() == [3, 0, 2]


def test_the_margin_is_learnt_in_training_only() -> None:
    margin = Margin(1)
    margin(row(-2.0))
    margin.eval()
    assert margin(row(-8.0)).tolist() == [-2.0]
    assert margin.count.tolist() == [1]


def test_the_margins_are_in_the_state_and_not_among_the_parameters(
    pair_with: Callable[..., Pair], said: Callable[..., Signals], batch: Batch
) -> None:
    pair = pair_with([(2, 4, 4)], [(3, 4, 4)])
    method, again = OFD(), OFD()
    method.build(pair)
    again.build(pair)
    teacher = torch.randn(2, 3, 4, 4)
    method(said(torch.randn(2, 2, 4, 4)), said(teacher), batch, START)
    again.load_state_dict(method.state_dict())
    expected = [channel[channel < 0].mean().item() for channel in teacher.transpose(0, 1)]
    assert again.margins[0].mean.tolist() == pytest.approx(expected, rel=1e-5)
    assert not list(method.margins.parameters())


def test_the_margin_is_that_of_the_values_that_are_compared(
    pair_with: Callable[..., Pair], said: Callable[..., Signals], batch: Batch
) -> None:
    """A finer teacher is averaged down first: (−3, 1) says −1, and (2, 4) nothing negative."""
    method = OFD()
    method.build(pair_with([(1, 1, 2)], [(1, 1, 4)]))
    method.connectors[0] = nn.Identity()
    loss = method(said(row(-5.0, 3.0)), said(row(-3.0, 1.0, 2.0, 4.0)), batch, START)
    assert method.margins[0].mean.tolist() == [-1.0]
    assert loss.item() == 0.0


def test_behind_a_relu_the_margin_is_zero(
    pair_with: Callable[..., Pair], said: Callable[..., Signals], batch: Batch
) -> None:
    method = OFD()
    method.build(pair_with([(1, 1, 3)], [(1, 1, 3)]))
    method.connectors[0] = nn.Identity()
    loss = method(said(row(-9.0, 2.0, 1.0)), said(row(0.0, 0.0, 4.0)), batch, START)
    assert loss.item() == 0 + 2**2 + 3**2


def test_each_earlier_tap_weighs_half_as_much_as_the_next(
    pair_with: Callable[..., Pair], said: Callable[..., Signals], batch: Batch
) -> None:
    method = OFD()
    method.build(pair_with([(1, 1, 1)] * 3, [(1, 1, 1)] * 3))
    for place in range(3):
        method.connectors[place] = nn.Identity()
    features = [row(0.0)] * 3
    for place, weight in enumerate((1 / 4, 1 / 2, 1)):
        one_off = [row(2.0) if at == place else row(0.0) for at in range(3)]
        assert method(said(*features), said(*one_off), batch, START).item() == 4 * weight


def test_every_tap_has_a_connector_of_its_own_into_the_teachers_channels(
    pair_with: Callable[..., Pair],
) -> None:
    method = OFD()
    method.build(pair_with([(2, 4, 4), (3, 2, 2)], [(5, 4, 4), (7, 2, 2)]))
    convolutions = [m for m in method.modules() if isinstance(m, nn.Conv2d)]
    assert [tuple(c.weight.shape) for c in convolutions] == [(5, 2, 1, 1), (7, 3, 1, 1)]
    assert sum(isinstance(m, nn.BatchNorm2d) for m in method.modules()) == 2
