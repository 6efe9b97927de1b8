from __future__ import annotations

import pytest
import torch
from torch import nn

from smskd.stage import Stage
from smskd.training.schedule import make_optimizer, set_rate


def test_sgd_has_nesterov_momentum_and_weight_decay() -> None:
    stage = Stage(momentum=0.8, weight_decay=0.01)
    optimizer = make_optimizer(stage, nn.Linear(1, 1).parameters(), 0.3)
    assert isinstance(optimizer, torch.optim.SGD)
    (group,) = optimizer.param_groups
    asked = {"lr": 0.3, "momentum": 0.8, "weight_decay": 0.01, "nesterov": True}
    assert asked.items() <= group.items()


def test_sgd_can_do_without_momentum() -> None:
    optimizer = make_optimizer(Stage(momentum=0.0), nn.Linear(1, 1).parameters(), 0.3)
    assert optimizer.param_groups[0]["nesterov"] is False


def test_adamw_has_the_rate_and_the_weight_decay() -> None:
    stage = Stage(optimizer="adamw", weight_decay=0.01)
    optimizer = make_optimizer(stage, nn.Linear(1, 1).parameters(), 0.3)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert {"lr": 0.3, "weight_decay": 0.01}.items() <= optimizer.param_groups[0].items()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lamb"])
def test_norms_and_biases_can_have_a_weight_decay_of_their_own(optimizer: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    stage = Stage(optimizer=optimizer, weight_decay=0.3, norm_weight_decay=0.0)
    weights, norms = make_optimizer(stage, network.parameters(), 0.1).param_groups
    assert (weights["weight_decay"], norms["weight_decay"]) == (0.3, 0.0)
    assert weights["params"] == [network[0].weight]
    assert norms["params"] == [network[0].bias, network[1].weight, network[1].bias]


def test_a_rate_that_is_a_tensor_is_told_in_place() -> None:
    optimizer = make_optimizer(Stage(), nn.Linear(1, 1).parameters(), 0.3)
    (group,) = optimizer.param_groups
    rate = group["lr"] = torch.tensor(0.3)
    set_rate(optimizer, 0.125)
    assert group["lr"] is rate and rate.item() == 0.125
    group["lr"] = 0.3
    set_rate(optimizer, 0.125)
    assert group["lr"] == 0.125
