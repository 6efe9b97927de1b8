"""Rates that fall with the depth, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from smskd.fine_tuning.depth import layer_rates

IMAGES = torch.zeros(2, 1, 8, 8)


class Backwards(nn.Module):
    """Its layers are run in another order than they are registered in."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.last, self.first = nn.Linear(4, 3), nn.Linear(4, 4), nn.Linear(64, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.last(self.first(images.flatten(1))))


def test_each_layer_learns_slower_than_the_one_above_it(net: Callable[..., nn.Module]) -> None:
    rates = layer_rates(net(), IMAGES, ["head"], 0.5)
    assert rates == {
        "stem.0.weight": 0.0625, "stem.0.bias": 0.0625,
        "stem.1.weight": 0.125, "stem.1.bias": 0.125,
        "body.0.weight": 0.25, "body.0.bias": 0.25,
        "body.1.weight": 0.5, "body.1.bias": 0.5,
        "head.weight": 1.0, "head.bias": 1.0,
    }  # fmt: skip


def test_the_order_is_that_of_the_forward_pass() -> None:
    rates = layer_rates(Backwards(), IMAGES, ["head"], 0.5)
    assert (rates["first.weight"], rates["last.weight"]) == (0.25, 0.5)


def test_a_deep_network_has_twelve_groups() -> None:
    layers = [nn.Linear(64, 64) for _ in range(24)]
    network = nn.Sequential(nn.Flatten(), *layers, nn.Linear(64, 3))
    rates = layer_rates(network, IMAGES, ["25"], 0.75)
    of_layers = [rates[f"{place}.weight"] for place in range(1, 25)]
    expected = [0.75**depth for depth in range(12, 0, -1) for _ in range(2)]
    assert of_layers == pytest.approx(expected)


def test_what_a_transformer_does_not_call_goes_with_what_is_around_it(
    vit: Callable[..., nn.Module],
) -> None:
    network = vit()
    rates = layer_rates(network, IMAGES, ["head"], 0.9)
    assert rates.keys() == {name for name, _ in network.named_parameters()}
    assert min(rates, key=rates.__getitem__) in {"token", "positions"}
    attention = [rates[n] for n in rates if ".self_attn." in n and n.startswith("encoder.layers.0")]
    assert max(attention) < rates["norm.weight"] < rates["head.weight"] == 1
