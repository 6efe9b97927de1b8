from __future__ import annotations

import pytest
import torch
from torch import nn

from smskd.stage import Stage
from smskd.training.schedule import learning_rate, make_optimizer


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0.0, 0.8), (2.5, 0.4 * (1 + 2**-0.5)), (5.0, 0.4), (10.0, 0.0)]
)
def test_cosine_falls_from_the_rate_to_zero(epoch: float, expected: float) -> None:
    stage = Stage(epochs=10, lr=0.8)
    assert learning_rate(stage, epoch) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0.0, 0.0), (0.5, 0.2), (1.0, 0.4), (2.0, 0.8), (6.0, 0.4), (10.0, 0.0)]
)
def test_warm_up_rises_linearly_and_the_cosine_takes_the_rest(
    epoch: float, expected: float
) -> None:
    stage = Stage(epochs=10, lr=0.8, warmup_epochs=2.0)
    assert learning_rate(stage, epoch) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("epoch", "expected"), [(0.0, 0.0), (1.0, 0.4), (2.0, 0.8), (9.9, 0.8)])
def test_constant_stays_after_the_warm_up(epoch: float, expected: float) -> None:
    stage = Stage(epochs=10, lr=0.8, schedule="constant", warmup_epochs=2.0)
    assert learning_rate(stage, epoch) == pytest.approx(expected)


def test_a_stage_may_be_warm_up_alone() -> None:
    stage = Stage(epochs=2, lr=0.8, warmup_epochs=2.0)
    assert [learning_rate(stage, epoch) for epoch in (0.0, 1.0, 2.0)] == [0.0, 0.4, 0.8]


def test_sgd_has_nesterov_momentum_and_weight_decay() -> None:
    stage = Stage(lr=0.3, momentum=0.8, weight_decay=0.01)
    optimizer = make_optimizer(stage, nn.Linear(1, 1).parameters())
    assert isinstance(optimizer, torch.optim.SGD)
    (group,) = optimizer.param_groups
    asked = {"lr": 0.3, "momentum": 0.8, "weight_decay": 0.01, "nesterov": True}
    assert asked.items() <= group.items()


def test_sgd_can_do_without_momentum() -> None:
    optimizer = make_optimizer(Stage(momentum=0.0), nn.Linear(1, 1).parameters())
    assert optimizer.param_groups[0]["nesterov"] is False


def test_adamw_has_the_rate_and_the_weight_decay() -> None:
    stage = Stage(optimizer="adamw", lr=0.3, weight_decay=0.01)
    optimizer = make_optimizer(stage, nn.Linear(1, 1).parameters())
    assert isinstance(optimizer, torch.optim.AdamW)
    assert {"lr": 0.3, "weight_decay": 0.01}.items() <= optimizer.param_groups[0].items()


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0.0, 0.0), (1.0, 0.4), (2.9, 0.8), (3.0, 0.08), (6.5, 0.008)]
)
def test_steps_take_a_tenth_each(epoch: float, expected: float) -> None:
    stage = Stage(epochs=9, lr=0.8, schedule="step", step_epochs=3, warmup_epochs=2.0)
    assert learning_rate(stage, epoch) == pytest.approx(expected)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lamb"])
def test_norms_and_biases_can_have_a_weight_decay_of_their_own(optimizer: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    stage = Stage(optimizer=optimizer, weight_decay=0.3, norm_weight_decay=0.0)
    weights, norms = make_optimizer(stage, network.parameters()).param_groups
    assert (weights["weight_decay"], norms["weight_decay"]) == (0.3, 0.0)
    assert weights["params"] == [network[0].weight]
    assert norms["params"] == [network[0].bias, network[1].weight, network[1].bias]
