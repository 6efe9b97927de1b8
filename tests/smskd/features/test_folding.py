"""Batch norms folded into convolutions: the same answers, and never others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from smskd.features.folding import folded
from smskd.features.taps import TappedModel

Net = Callable[..., nn.Module]
IMAGES = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def trained(model: nn.Module) -> nn.Module:
    """With batch-norm statistics, scales and offsets that are not those of the first day."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 2)
                module.bias.uniform_(-1, 1)
                module.running_mean.uniform_(-1, 1)
                module.running_var.uniform_(0.5, 2)
    return model.eval()


def norms(tapped: TappedModel) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in tapped.model.modules())


def assert_same(first: TappedModel, second: TappedModel) -> None:
    with torch.no_grad():
        ours, theirs = first(IMAGES), second(IMAGES)
    for a, b in zip((ours.logits, *ours.features), (theirs.logits, *theirs.features), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


class Small(nn.Module):
    """A convolution and a batch norm, put together by `how`."""

    def __init__(self, how: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.how = how
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.again, self.again_norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.how(self, images).mean((2, 3)))


def used_twice(network: nn.Module, images: Tensor) -> Tensor:
    between = network.conv(images)
    return network.norm(between) + between


def test_a_folded_network_says_the_same_without_batch_norms_and_the_original_stays(
    net: Net,
) -> None:
    tapped = TappedModel(trained(net()), ("stem", "body.1"), "head")
    before = {name: tensor.clone() for name, tensor in tapped.model.state_dict().items()}
    result = folded(tapped, IMAGES[:2])
    assert (norms(tapped), norms(result)) == (2, 0)
    assert_same(result, tapped)
    after = tapped.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(p.requires_grad for p in result.model.parameters())


def test_the_layout_of_the_weights_stays(net: Net) -> None:
    model = trained(net()).to(memory_format=torch.channels_last)
    result = folded(TappedModel(model), IMAGES[:2])
    weight = result.model.get_parameter("body.0.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("tap", ["stem.0", "stem.1:input"])
def test_what_is_tapped_between_the_two_is_left_as_it_is(tap: str, net: Net) -> None:
    tapped = TappedModel(trained(net()), (tap,), "head")
    result = folded(tapped, IMAGES[:2])
    assert norms(result) == 1  # of the body
    assert_same(result, tapped)


@pytest.mark.parametrize(
    ("how", "left"),
    [
        (lambda m, x: m.norm(m.conv(x)), 0),
        (used_twice, 1),
        (lambda m, x: m.norm(m.conv(x).relu_()), 1),  # changed in place on the way
        (lambda m, x: m.norm(m.conv(x) * 1), 1),  # another tensor
        (lambda m, x: m.norm(m.conv(x)) + m.norm(m.conv(-x)), 1),  # each runs twice
        (lambda m, x: m.again_norm(m.again(m.norm(m.conv(x)))), 0),
    ],
)
def test_only_what_is_given_to_the_norm_alone_is_folded(how: Any, left: int) -> None:
    torch.manual_seed(0)
    tapped = TappedModel(trained(Small(how)))
    unused = 2 - (1 if "again" not in how.__code__.co_names else 2)
    result = folded(tapped, IMAGES[:2])
    assert norms(result) == left + unused
    assert_same(result, tapped)


def test_a_convolution_whose_weight_is_computed_or_that_is_hooked_is_left(net: Net) -> None:
    model = trained(net())
    nn.utils.parametrizations.weight_norm(model.get_submodule("stem.0"))
    model.get_submodule("body.0").register_forward_hook(lambda *_: None)
    tapped = TappedModel(model)
    assert folded(tapped, IMAGES[:2]) is tapped


def test_a_norm_of_the_batch_itself_is_left() -> None:
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    layers = nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.Flatten(), nn.Linear(144, 3)).eval()
    tapped = TappedModel(layers)
    assert folded(tapped, IMAGES[:2]) is tapped
