from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import Progress
from smskd.methods.vid import VID, vid_loss
from smskd.pair import Pair

START = Progress(0, 1)


def test_the_loss_is_what_is_worked_out_by_hand() -> None:
    mean = torch.tensor([[[[1.0]], [[2.0]]]])
    teacher = torch.tensor([[[[2.0]], [[5.0]]]])
    variance = torch.tensor([0.5, 3.0])
    expected = ((1 / 0.5 + math.log(0.5)) + (9 / 3 + math.log(3))) / 2 / 2
    assert vid_loss(mean, teacher, variance).tolist() == pytest.approx([expected])


def test_the_loss_is_that_of_loops_over_samples_channels_and_places() -> None:
    torch.manual_seed(0)
    mean, teacher = torch.randn(2, 3, 2, 4), torch.randn(2, 3, 2, 4)
    variance = torch.rand(3) + 0.1
    for sample, loss in enumerate(vid_loss(mean, teacher, variance).tolist()):
        terms = [
            (mean[sample, c, y, x] - teacher[sample, c, y, x]).item() ** 2 / v + math.log(v)
            for c, v in enumerate(variance.tolist())
            for y in range(2)
            for x in range(4)
        ]
        assert loss == pytest.approx(sum(terms) / len(terms) / 2, rel=1e-5)


def guessing(method: VID, pair: Pair) -> VID:
    """A method whose regressor says |x|, in both of two channels, of the student's only one."""
    method.build(pair)
    first, _, second, _, third = method.regressors[0]
    with torch.no_grad():
        first.weight.copy_(torch.tensor([1.0, -1.0])[:, None, None, None])
        second.weight.copy_(torch.eye(2)[:, :, None, None])
        third.weight.copy_(torch.ones(2, 2)[:, :, None, None])
    return method


def test_the_student_is_averaged_down_before_its_guess_and_not_after_it(
    pair_with: Callable[..., Pair],
) -> None:
    """|mean(1, −3, 5, −7)| is 1, where the mean of |1|, |−3|, |5|, |−7| would be 4."""
    method = guessing(VID(initial_variance=1.0), pair_with([(1, 2, 2)], [(2, 1, 1)]))
    student = torch.tensor([[[[1.0, -3.0], [5.0, -7.0]]]])
    teacher = torch.tensor([[[[1.0]], [[4.0]]]])
    loss = method.tap_loss(0, student, teacher, START)
    assert loss.item() == pytest.approx((0 + 9) / 2 / 2, abs=1e-4)


def test_the_teacher_is_averaged_down_where_it_is_the_finer_one(
    pair_with: Callable[..., Pair],
) -> None:
    method = guessing(VID(initial_variance=1.0), pair_with([(1, 1, 1)], [(2, 2, 2)]))
    teacher = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]], [[2.0, 2.0], [2.0, 2.0]]]])
    loss = method.tap_loss(0, torch.tensor([[[[-3.0]]]]), teacher, START)
    assert loss.item() == pytest.approx((1 + 1) / 2 / 2, abs=1e-4)


def test_a_guess_that_is_right_costs_what_its_variance_says_and_none_costs_less() -> None:
    teacher, variance = torch.randn(2, 3, 4, 4), torch.tensor([0.5, 1.0, 5.0])
    guess = teacher.clone().requires_grad_()
    loss = vid_loss(guess, teacher, variance)
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([math.log(2.5) / 3 / 2] * 2, rel=1e-5)
    assert guess.grad.abs().max() == 0
    assert (vid_loss(guess + 0.1, teacher, variance) > loss).all()


def test_the_best_variance_is_the_mean_squared_error() -> None:
    mean, teacher = torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 3.0]]]])
    variance = torch.tensor([5.0], requires_grad=True)
    vid_loss(mean, teacher, variance).sum().backward()
    assert variance.grad.item() == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("initial", [2e-5, 0.3, 5.0, 1e4])
def test_every_channel_starts_at_the_variance_asked_for(
    pair_with: Callable[..., Pair], initial: float
) -> None:
    method = VID(initial_variance=initial)
    method.build(pair_with([(2, 4, 4), (3, 2, 2)], [(5, 4, 4), (7, 2, 2)]))
    for place, channels in enumerate((5, 7)):
        assert method.variance(place).tolist() == pytest.approx([initial] * channels, rel=1e-3)


@pytest.mark.parametrize("initial", [1e-5, 0.0, -1.0])
def test_a_variance_that_cannot_be_is_quoted(initial: float) -> None:
    with pytest.raises(ValueError, match=rf"above 1e-05, but got initial_variance={initial}"):
        VID(initial_variance=initial)


def test_variances_and_regressors_are_trained_and_saved(
    pair_with: Callable[..., Pair], said: Callable[..., Signals], batch: Batch
) -> None:
    """A student that tells all there is to know makes the teacher certain."""
    torch.manual_seed(0)
    method = VID()
    method.build(pair_with([(2, 4, 4)], [(3, 4, 4)]))
    ours = torch.randn(8, 2, 4, 4)
    student = said(ours)
    teacher = said(torch.nn.functional.conv2d(ours, torch.randn(3, 2, 1, 1)))
    optimizer = torch.optim.Adam(method.parameters(), lr=0.05)
    before = method(student, teacher, batch, START).item()
    for _ in range(150):
        optimizer.zero_grad()
        loss = method(student, teacher, batch, START)
        loss.backward()
        optimizer.step()
    assert loss.item() < before - 0.5
    assert (method.variance(0) < 2.0).all()
    raw = method.state_dict()["raw_variances.0"]
    assert torch.equal(raw, method.raw_variances[0])
