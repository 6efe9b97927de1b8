from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.models.families.cifar_resnet import DEPTHS, WIDTHS_X4, CifarResNet


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# He et al. (2016), table 6, in millions; they have no parameters in their shortcuts.
@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
)
def test_it_is_as_large_as_in_the_paper(depth: int, millions: float) -> None:
    assert parameters(CifarResNet(depth)) / 1e6 == pytest.approx(millions, rel=0.03)


@pytest.mark.parametrize("depth", DEPTHS)
def test_it_has_as_many_layers_as_its_name_says(depth: int) -> None:
    modules = CifarResNet(depth).named_modules()
    layers = [
        name for name, module in modules
        if isinstance(module, nn.Conv2d | nn.Linear) and "shortcut" not in name
    ]  # fmt: skip
    assert len(layers) == depth


def test_each_group_halves_the_image_and_doubles_the_channels() -> None:
    model = CifarResNet(8).eval()
    x = torch.zeros(1, 16, 32, 32)
    groups = (model.layer1, model.layer2, model.layer3)
    shapes = [tuple((x := group(x)).shape[1:]) for group in groups]
    assert shapes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


def test_four_times_the_channels_come_after_a_stem_of_32() -> None:
    model = CifarResNet(8, widths=WIDTHS_X4).eval()
    x = torch.zeros(1, 32, 32, 32)
    groups = (model.layer1, model.layer2, model.layer3)
    shapes = [tuple((x := group(x)).shape[1:]) for group in groups]
    assert shapes == [(64, 32, 32), (128, 16, 16), (256, 8, 8)]


@pytest.mark.parametrize("depth", [2, 7, 9, 21, 0])
def test_another_depth_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=f"{depth=}"):
        CifarResNet(depth)
