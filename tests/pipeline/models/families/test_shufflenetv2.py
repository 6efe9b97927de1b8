from __future__ import annotations

import torch

from pipeline.models.families._layers import shuffle
from pipeline.models.families.shufflenetv2 import BasicUnit, ShuffleNetV2


def test_each_group_halves_the_image_and_doubles_the_channels() -> None:
    model = ShuffleNetV2().eval()
    x = model.stem(torch.zeros(1, 3, 32, 32))
    assert x.shape == (1, 24, 32, 32)
    shapes = [tuple((x := group(x)).shape[1:]) for group in model.groups]
    assert shapes == [(116, 16, 16), (232, 8, 8), (464, 4, 4)]


def test_half_of_the_channels_pass_a_basic_unit_as_they_are() -> None:
    x = torch.randn(2, 8, 4, 4)
    with torch.no_grad():
        out = shuffle(BasicUnit(8).eval()(x), 4)
    assert torch.equal(out[:, :4], x[:, :4])
    assert not torch.equal(out[:, 4:], x[:, 4:])
