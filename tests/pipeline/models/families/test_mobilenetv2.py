from __future__ import annotations

import torch
from torch import nn

from pipeline.models.families.mobilenetv2 import InvertedResidual, MobileNetV2


def test_groups_are_as_in_the_paper_at_half_the_width() -> None:
    model = MobileNetV2().eval()
    x = model.stem(torch.zeros(1, 3, 32, 32))
    shapes = [tuple((x := group(x)).shape[1:]) for group in model.groups]
    assert shapes == [
        (8, 16, 16), (12, 16, 16), (16, 8, 8), (32, 4, 4), (48, 4, 4), (80, 2, 2), (160, 2, 2),
    ]  # fmt: skip


def test_the_width_scales_all_but_the_last_convolution() -> None:
    whole = MobileNetV2(width=1.0)
    assert whole.stem[0].out_channels == 32
    assert whole.fc.in_features == MobileNetV2(width=0.5).fc.in_features == 1280


def test_the_input_is_added_only_where_the_shape_stays() -> None:
    x = torch.randn(2, 4, 8, 8)
    for outputs, stride, added in ((4, 1, True), (6, 1, False), (4, 2, False)):
        block = InvertedResidual(4, outputs, stride, expansion=6).eval()
        convolution, norm = block.body[-1]
        nn.init.zeros_(convolution.weight)
        nn.init.zeros_(norm.bias)
        assert torch.equal(block(x), x) == added
