"""The layer that gives the logits, found in any network and made anew."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import get_model

from foundation.errors import ModelMismatchError, UnknownNameError
from smskd.fine_tuning.head import find_head, replace_head

IMAGES = torch.zeros(2, 1, 8, 8)


class Scaled(nn.Module):
    """Logits that a layer of their own scales: the last one with weights gives them, and cannot be
    made anew by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(64, 3), nn.LayerNorm(3)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.layer(images.flatten(1)))


class TwoHeads(nn.Module):
    """The mean of two layers' logits."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 3), nn.Linear(64, 3)

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)
        return (self.first(flat) + self.second(flat)) / 2


def convolutional() -> nn.Module:
    """Its logits come of a convolution, whose map is averaged, as SqueezeNet's."""
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten())


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("resnet18", "fc"),
        ("vgg11", "classifier.6"),
        ("mobilenet_v3_small", "classifier.3"),
        ("squeezenet1_1", "classifier.1"),
        ("vit_b_32", "heads.head"),
        ("convnext_atto", "head.fc"),
    ],
)
def test_the_head_of_a_librarys_network_is_found_without_knowing_it(model: str, name: str) -> None:
    with torch.device("meta"):  # where it lies takes no numbers
        build = timm.create_model if model == "convnext_atto" else get_model
        network = build(model, num_classes=5)
        assert find_head(network, torch.zeros(2, 3, 224, 224)) == name


def test_a_fresh_layer_of_the_same_kind_takes_its_place(net: Callable[..., nn.Module]) -> None:
    for network, name in ((net(), "head"), (convolutional(), "2")):
        before = {n: t.clone() for n, t in network.state_dict().items()}
        assert find_head(network, IMAGES) == name
        replace_head(network, IMAGES, name, 7)
        assert network.eval()(IMAGES).shape == (2, 7)
        after = network.state_dict()
        assert after.keys() == before.keys()
        assert all(after[n].equal(before[n]) for n in after if not n.startswith(name))


def test_where_none_is_found_it_is_said_how_to_name_it() -> None:
    with pytest.raises(ModelMismatchError, match=r"'norm' is a LayerNorm\); name .* --head"):
        find_head(Scaled(), IMAGES)
    assert find_head(Scaled(), IMAGES, "layer") == "layer"
    with pytest.raises(ModelMismatchError, match="with 'layer' made anew for 7 classes it fails"):
        replace_head(Scaled(), IMAGES, "layer", 7)
    with pytest.raises(UnknownNameError, match="'lyer', did you mean 'layer'"):
        find_head(Scaled(), IMAGES, "lyer")
    with pytest.raises(ModelMismatchError, match="the layer that was named is no linear layer"):
        find_head(Scaled(), IMAGES, "norm")


def test_a_network_is_as_it_was_where_one_layer_alone_does_not_give_its_logits() -> None:
    network = TwoHeads()
    with pytest.raises(ModelMismatchError, match="that layer alone does not give its logits"):
        replace_head(network, IMAGES, find_head(network, IMAGES), 7)
    assert network(IMAGES).shape == (2, 3)
