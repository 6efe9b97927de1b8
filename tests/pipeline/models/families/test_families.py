"""What holds for every registered model."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models import MODELS, build_model
from smskd.features.taps import TappedModel

# For 100 classes of RGB images.
PARAMETERS = {
    "mobilenetv2": 812_836,
    "resnet8": 83_892,
    "resnet8x4": 1_233_540,
    "resnet14": 181_108,
    "resnet20": 278_324,
    "resnet32": 472_756,
    "resnet32x4": 7_433_860,
    "resnet44": 667_188,
    "resnet56": 861_620,
    "resnet110": 1_736_564,
    "shufflenetv1": 949_258,
    "shufflenetv2": 1_355_528,
    "vgg8": 3_963_556,
    "vgg11": 9_274_532,
    "vgg13": 9_459_236,
    "vgg16": 14_770_212,
    "vgg19": 20_081_188,
    "wrn-16-1": 180_916,
    "wrn-16-2": 703_284,
    "wrn-28-2": 1_479_220,
    "wrn-28-10": 36_536_884,
    "wrn-40-1": 569_780,
    "wrn-40-2": 2_255_156,
    "wrn-40-4": 8_972_340,
}

# As published with the comparisons on CIFAR-100, in millions.
PUBLISHED = {
    "mobilenetv2": 0.81,
    "resnet8x4": 1.23,
    "resnet20": 0.28,
    "resnet32": 0.47,
    "resnet32x4": 7.43,
    "resnet56": 0.86,
    "resnet110": 1.74,
    "shufflenetv1": 0.95,
    "shufflenetv2": 1.36,
    "vgg8": 3.97,
    "vgg13": 9.46,
    "wrn-16-2": 0.70,
    "wrn-28-10": 36.5,
    "wrn-40-1": 0.57,
    "wrn-40-2": 2.26,
}


def small(name: str, in_channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return build_model(name, 5, in_channels)


def outputs_of(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """What each submodule gave, as a hook keeps it."""
    kept: dict[str, Tensor] = {}

    def keep(name: str, _module: nn.Module, _args: Any, output: Tensor) -> None:
        kept[name] = output

    for name, module in model.named_modules():
        module.register_forward_hook(partial(keep, name))
    with torch.no_grad():
        model(images)
    return kept


@pytest.mark.parametrize("name", MODELS.names())
def test_it_has_this_many_parameters(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, 100, 3)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == PARAMETERS[name]
    if name in PUBLISHED:
        assert count / 1e6 == pytest.approx(PUBLISHED[name], rel=0.02)


@pytest.mark.parametrize("name", MODELS.names())
def test_gradients_reach_every_parameter(name: str) -> None:
    model = small(name)
    F.cross_entropy(model(torch.randn(4, 3, 16, 16)), torch.arange(4)).backward()
    unreached = [
        key
        for key, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert not unreached


@pytest.mark.parametrize("name", MODELS.names())
@pytest.mark.parametrize("size", [28, 64])
def test_it_takes_images_of_other_sizes(name: str, size: int) -> None:
    with torch.no_grad():
        logits = small(name, in_channels=1).eval()(torch.randn(1, 1, size, size))
    assert logits.shape == (1, 5)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", MODELS.names())
def test_it_has_feature_maps_of_several_resolutions(name: str) -> None:
    kept = outputs_of(small(name).eval(), torch.randn(1, 3, 32, 32))
    groups = [kept[key] for key in kept if re.fullmatch(r"(layer|groups\.)\d", key)]
    sizes = {tuple(output.shape[2:]) for output in groups}
    assert len(sizes) >= 3
    assert all(height == width for height, width in sizes)


@pytest.mark.parametrize("name", MODELS.names())
def test_nothing_changes_what_a_hook_has_kept(name: str) -> None:
    """As an in-place ReLU behind a tap would."""
    images = torch.randn(2, 3, 16, 16)
    model = small(name).eval()
    seen: dict[str, Tensor] = {}
    for key, module in model.named_modules():
        module.register_forward_hook(lambda _m, _i, out, key=key: seen.update({key: out.clone()}))
    kept = outputs_of(model, images)
    assert kept.keys() == seen.keys()
    assert all(torch.equal(kept[key], seen[key]) for key in kept)


@pytest.mark.parametrize(
    ("name", "before", "behind"),
    [
        ("resnet8", "layer3.0.relu:input", "layer3"),
        ("resnet20", "layer1.2.relu:input", "layer1"),
        ("vgg8", "groups.1.0.1", "groups.1"),
        ("vgg13", "groups.4.1.1", "groups.4"),
        ("wrn-16-2", "last.0", "last"),
        ("mobilenetv2", "last.1", "last"),
        ("torchvision/resnet18", "layer4.1.relu:input", "layer4"),
        ("torchvision/vgg11_bn", "features.26", "features.27"),
    ],
)
def test_a_feature_can_be_tapped_in_front_of_its_relu(name: str, before: str, behind: str) -> None:
    network = build_model(name, 5, 3).eval()
    with torch.no_grad():
        said = TappedModel(network, [before, behind])(torch.randn(2, 3, 64, 64))
    assert said.features[0].min() < 0
    assert torch.equal(said.features[0].relu(), said.features[1])
