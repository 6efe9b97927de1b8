from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.models.families.wide_resnet import SIZES, PreActivationBlock, WideResNet


@pytest.mark.parametrize(("depth", "width"), SIZES)
def test_it_has_as_many_layers_as_its_name_says(depth: int, width: int) -> None:
    """The paper counts a shortcut's convolution in each group, but not the linear layer."""
    with torch.device("meta"):
        modules = WideResNet(depth, width).named_modules()
    layers = [
        name for name, module in modules
        if isinstance(module, nn.Conv2d) and "shortcut" not in name
    ]  # fmt: skip
    assert len(layers) + 3 == depth


def test_a_block_that_keeps_its_shape_passes_its_input_on_untouched() -> None:
    block = PreActivationBlock(4, 4, 1).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(block(x), x)


def test_each_group_halves_the_image_and_doubles_the_channels() -> None:
    model = WideResNet(10, 2).eval()
    x = torch.zeros(1, 16, 32, 32)
    groups = (model.layer1, model.layer2, model.layer3)
    shapes = [tuple((x := group(x)).shape[1:]) for group in groups]
    assert shapes == [(32, 32, 32), (64, 16, 16), (128, 8, 8)]


@pytest.mark.parametrize("depth", [4, 9, 11, 21, 0])
def test_another_depth_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=f"{depth=}"):
        WideResNet(depth, 1)


def test_a_width_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="width=0"):
        WideResNet(16, 0)
