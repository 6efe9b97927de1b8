from __future__ import annotations

import pytest
import torch
from torch import nn

from smskd.methods import Progress
from smskd.methods.fitnet import FitNet, fitnet_loss
from smskd.signals import PairShapes, Signals

SHAPES = PairShapes((2,), (2,), ((2, 4, 4), (3, 2, 2)), ((5, 4, 4), (7, 2, 2)))


def test_the_loss_is_what_is_worked_out_by_hand() -> None:
    """Squares of 1, 0, 2 and 3, in the mean."""
    regressed = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    teacher = torch.tensor([[[[2.0, 2.0]], [[1.0, 7.0]]]])
    assert fitnet_loss(regressed, teacher).item() == (1 + 0 + 4 + 9) / 4


def test_the_finer_feature_is_averaged_down_before_they_are_compared() -> None:
    fine = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])
    coarse = torch.tensor([[[[5.0]]]])
    assert fitnet_loss(fine, coarse).item() == pytest.approx(1.0)
    assert fitnet_loss(coarse, fine).item() == pytest.approx(1.0)


def test_a_student_that_needs_no_translation_has_nothing_to_learn() -> None:
    method = FitNet()
    method.regressors.extend([nn.Identity(), nn.Identity()])
    said = Signals(torch.zeros(2, 2), (torch.randn(2, 5, 4, 4), torch.randn(2, 7, 2, 2)))
    assert method(said, said, torch.tensor([0, 1]), Progress(0, 1)).item() == 0.0


def test_the_loss_sums_over_the_taps() -> None:
    method = FitNet()
    method.regressors.extend([nn.Identity(), nn.Identity()])
    zeros = Signals(torch.zeros(1, 2), (torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 1)))
    others = Signals(torch.zeros(1, 2), (torch.ones(1, 1, 2, 2), 2 * torch.ones(1, 1, 1, 1)))
    assert method(zeros, others, torch.tensor([0]), Progress(0, 1)).item() == 1 + 4


def test_every_tap_has_a_regressor_of_its_own_into_the_teachers_channels() -> None:
    method = FitNet()
    method.build(SHAPES)
    convolutions = [m for m in method.modules() if isinstance(m, nn.Conv2d)]
    assert [tuple(c.weight.shape) for c in convolutions] == [(5, 2, 1, 1), (7, 3, 1, 1)]


def test_the_regressors_are_parameters_and_can_learn_the_translation() -> None:
    torch.manual_seed(0)
    method = FitNet()
    method.build(PairShapes((2,), (2,), ((2, 4, 4),), ((3, 4, 4),)))
    ours = torch.randn(8, 2, 4, 4)
    theirs = nn.functional.conv2d(ours, torch.randn(3, 2, 1, 1))
    labels, at_start = torch.zeros(8, dtype=torch.int64), Progress(0, 1)
    student, teacher = Signals(torch.zeros(8, 2), (ours,)), Signals(torch.zeros(8, 2), (theirs,))
    optimizer = torch.optim.Adam(method.parameters(), lr=0.1)
    losses = []
    for _ in range(100):
        loss = method(student, teacher, labels, at_start)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]
