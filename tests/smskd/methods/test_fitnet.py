from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import Progress
from smskd.methods._features import BatchNorm, resized, to_coarser
from smskd.methods.fitnet import FitNet, fitnet_loss
from smskd.pair import Pair

START = Progress(0, 1)


def test_the_loss_is_what_is_worked_out_by_hand_sample_by_sample() -> None:
    """Squares of 1, 0, 2 and 3, in the mean."""
    regressed = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]], [[[2.0, 2.0]], [[1.0, 7.0]]]])
    teacher = torch.tensor([[[[2.0, 2.0]], [[1.0, 7.0]]]]).expand(2, -1, -1, -1)
    assert fitnet_loss(regressed, teacher).tolist() == [(1 + 0 + 4 + 9) / 4, 0.0]


def test_the_finer_feature_is_averaged_down_before_they_are_compared() -> None:
    fine = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])
    coarse = torch.tensor([[[[5.0]]]])
    assert fitnet_loss(fine, coarse).item() == pytest.approx(1.0)
    assert fitnet_loss(coarse, fine).item() == pytest.approx(1.0)


def test_each_side_of_a_feature_is_averaged_down_on_its_own() -> None:
    tall, wide = torch.randn(2, 3, 7, 1), torch.randn(2, 4, 2, 13)
    assert [tuple(one.shape) for one in to_coarser(tall, wide)] == [(2, 3, 2, 1), (2, 4, 2, 1)]


def test_a_feature_is_averaged_on_the_way_down_and_repeated_on_the_way_up() -> None:
    feature = torch.tensor([[[[1.0, 2.0, 5.0, 8.0]]]])
    assert resized(feature, 1, 2).flatten().tolist() == [1.5, 6.5]
    assert resized(feature, 2, 4).flatten().tolist() == [1.0, 2.0, 5.0, 8.0] * 2
    assert resized(feature, 1, 4) is feature


def test_a_single_vector_is_normed_by_what_was_seen_before() -> None:
    norm = BatchNorm(2, momentum=1.0)
    seen = torch.tensor([[1.0, 10.0], [3.0, 30.0]])[:, :, None, None]
    norm(seen)
    one = norm(torch.tensor([[2.0, 20.0 + 200**0.5]])[:, :, None, None])
    assert one.flatten().tolist() == pytest.approx([0.0, 1.0], abs=1e-4)
    assert norm.running_mean.tolist() == [2.0, 20.0]
    assert torch.equal(norm(seen), nn.BatchNorm2d(2)(seen))


def test_a_student_that_needs_no_translation_has_nothing_to_learn(
    said: Callable[..., Signals], batch: Batch
) -> None:
    method = FitNet()
    method.regressors.extend([nn.Identity(), nn.Identity()])
    same = said(torch.randn(2, 5, 4, 4), torch.randn(2, 7, 2, 2))
    assert method(same, same, batch, START).item() == 0.0


def test_the_loss_sums_over_the_taps(said: Callable[..., Signals], batch: Batch) -> None:
    method = FitNet()
    method.regressors.extend([nn.Identity(), nn.Identity()])
    zeros = said(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 1))
    others = said(torch.ones(1, 1, 2, 2), 2 * torch.ones(1, 1, 1, 1))
    assert method(zeros, others, batch, START).item() == 1 + 4


def test_every_tap_has_a_regressor_of_its_own_into_the_teachers_channels(
    pair_with: Callable[..., Pair],
) -> None:
    method = FitNet()
    method.build(pair_with([(2, 4, 4), (3, 2, 2)], [(5, 4, 4), (7, 2, 2)]))
    convolutions = [m for m in method.modules() if isinstance(m, nn.Conv2d)]
    assert [tuple(c.weight.shape) for c in convolutions] == [(5, 2, 1, 1), (7, 3, 1, 1)]


def test_the_regressors_are_parameters_and_can_learn_the_translation(
    pair_with: Callable[..., Pair], said: Callable[..., Signals], batch: Batch
) -> None:
    torch.manual_seed(0)
    method = FitNet()
    method.build(pair_with([(2, 4, 4)], [(3, 4, 4)]))
    ours = torch.randn(8, 2, 4, 4)
    student = said(ours)
    teacher = said(nn.functional.conv2d(ours, torch.randn(3, 2, 1, 1)))
    optimizer = torch.optim.Adam(method.parameters(), lr=0.1)
    losses = []
    for _ in range(100):
        loss = method(student, teacher, batch, START)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]
