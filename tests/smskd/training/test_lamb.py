from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from smskd.training.lamb import Lamb


def stepped(values: list[float], gradient: list[float], **settings: float) -> torch.Tensor:
    parameter = nn.Parameter(torch.tensor(values))
    parameter.grad = torch.tensor(gradient)
    Lamb([parameter], **settings).step()
    return parameter.detach()


def test_the_first_step_worked_out_by_hand() -> None:
    # Adam's first step is the gradient's sign, (1, -1); with the decay it is (1.3, -0.6). The
    # weights are 5 long, the step is 1.3² + 0.6² = 2.05 squared.
    step = stepped([3.0, 4.0], [0.5, -2.0], lr=0.1, weight_decay=0.1)
    ratio = 5 / math.sqrt(2.05)
    torch.testing.assert_close(
        step, torch.tensor([3 - 0.1 * ratio * 1.3, 4 + 0.1 * ratio * 0.6]), rtol=1e-5, atol=1e-5
    )


def test_without_weight_decay_it_is_adam() -> None:
    ours, adam = (nn.Parameter(torch.tensor([3.0, -4.0, 0.5])) for _ in range(2))
    optimizers = (Lamb([ours], 0.1, 0.0), torch.optim.Adam([adam], 0.1, eps=1e-6))
    for number in range(5):
        for parameter, optimizer in zip((ours, adam), optimizers, strict=True):
            parameter.grad = torch.tensor([0.1, -1.0, 3.0]) * (number + 1)
            optimizer.step()
    torch.testing.assert_close(ours, adam)


@pytest.mark.parametrize("values", [[0.0, 0.0], [3.0, 4.0]])
def test_weights_or_steps_of_nought_give_no_infinity(values: list[float]) -> None:
    assert stepped(values, [0.0, 0.0], lr=0.1, weight_decay=0.1).isfinite().all()


def test_it_agrees_with_timms() -> None:
    timm_optim = pytest.importorskip("timm.optim")
    torch.manual_seed(0)
    start, ours, theirs = torch.randn(4, 3), None, None
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = (
        Lamb([ours], 0.02, 0.05),
        timm_optim.Lamb([theirs], 0.02, weight_decay=0.05, max_grad_norm=None),
    )
    for _ in range(10):
        gradient = torch.randn(4, 3)
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_its_state_can_be_put_back() -> None:
    def run(halfway: bool) -> torch.Tensor:
        torch.manual_seed(1)
        parameter = nn.Parameter(torch.ones(3))
        optimizer = Lamb([parameter], 0.1, 0.1)
        for number in range(6):
            if halfway and number == 3:
                state = optimizer.state_dict()
                optimizer = Lamb([parameter], 0.1, 0.1)
                optimizer.load_state_dict(state)
            parameter.grad = torch.randn(3)
            optimizer.step()
        return parameter.detach()

    torch.testing.assert_close(run(halfway=True), run(halfway=False), rtol=0, atol=0)
