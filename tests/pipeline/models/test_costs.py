"""Parameters and multiply-accumulates."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pipeline.models.costs import cost_of, mac_count, parameter_count


def test_parameters_are_counted() -> None:
    assert parameter_count(nn.Linear(3, 4)) == 16


@pytest.mark.parametrize("count", [1, 3])
def test_multiply_accumulates_are_those_of_one_image(count: int) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 16, 5))
    macs = 3 * 9 * 8 * 16 + 8 * 16 * 5
    assert mac_count(network, torch.zeros(count, 3, 6, 6)) == macs


def test_the_work_of_attention_is_counted() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.attention(tokens, tokens, tokens, need_weights=False)[0]  # type: ignore[no-any-return]

    projections, products = 4 * 5 * 8 * 8, 2 * 5 * 5 * 8
    assert mac_count(Attends(), torch.zeros(1, 5, 8)) == projections + products


def test_counting_leaves_the_network_as_it_is() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    cost_of(network, torch.randn(2, 3, 8, 8))
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_what_cannot_be_counted_is_none() -> None:
    class Fails(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError

    assert cost_of(Fails(), torch.zeros(1, 3, 8, 8)) == {"parameters": 0, "macs": None}
