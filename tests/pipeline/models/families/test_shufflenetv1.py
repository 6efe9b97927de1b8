from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.models.families._layers import shuffle
from pipeline.models.families.shufflenetv1 import ShuffleNetV1, ShuffleUnit


def test_each_group_halves_the_image_and_doubles_the_channels() -> None:
    model = ShuffleNetV1().eval()
    x = model.stem(torch.zeros(1, 3, 32, 32))
    assert x.shape == (1, 24, 32, 32)
    shapes = [tuple((x := group(x)).shape[1:]) for group in model.groups]
    assert shapes == [(240, 16, 16), (480, 8, 8), (960, 4, 4)]


def test_a_shuffle_takes_one_channel_of_each_group_in_turn() -> None:
    channels = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert shuffle(channels, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert torch.equal(shuffle(shuffle(channels, 3), 2), channels)


def test_a_unit_that_halves_puts_the_mean_of_its_input_beside_the_rest() -> None:
    unit = ShuffleUnit(48, 96, stride=2).eval()
    x = torch.rand(2, 48, 8, 8)
    with torch.no_grad():
        out = unit(x)
    assert out.shape == (2, 96, 4, 4)
    assert torch.equal(out[:, 48:], F.avg_pool2d(x, 3, 2, 1))


def test_a_unit_that_keeps_its_shape_adds_its_input() -> None:
    unit = ShuffleUnit(48, 48, stride=1).eval()
    nn.init.zeros_(unit.widen[0].weight)
    x = torch.rand(2, 48, 8, 8)
    assert torch.equal(unit(x), x)
