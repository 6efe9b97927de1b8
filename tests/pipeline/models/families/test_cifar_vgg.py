from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.models.families.cifar_vgg import CONVOLUTIONS, CifarVGG


@pytest.mark.parametrize("layers", CONVOLUTIONS)
def test_it_has_as_many_layers_as_its_name_says(layers: int) -> None:
    """The names count the paper's three linear layers, of which one is left."""
    model = CifarVGG(CONVOLUTIONS[layers])
    convolutions = [one for one in model.modules() if isinstance(one, nn.Conv2d)]
    assert len(convolutions) + 3 == layers


def test_the_image_is_halved_three_times() -> None:
    model = CifarVGG(CONVOLUTIONS[8]).eval()
    shapes = []
    for group in model.groups:
        group.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape[1:])))
    with torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))
    assert shapes == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 4, 4)]
