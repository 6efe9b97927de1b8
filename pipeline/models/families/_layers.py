"""What several families are made of."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    *,
    relu: bool = True,
) -> nn.Sequential:
    """A convolution that keeps the size up to its stride, batch norm, and a ReLU if wanted."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    # Never in place: that would change what a tap before it has kept.
    return nn.Sequential(*layers, *([nn.ReLU()] if relu else []))


def pooled(x: Tensor) -> Tensor:
    """The mean over a feature map: (N, C, H, W) to (N, C), for any size of image."""
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Mix the channels of groups, so that the next grouped convolution sees some of each."""
    batch, channels, height, width = x.shape
    grouped = x.reshape(batch, groups, channels // groups, height, width)
    return grouped.transpose(1, 2).reshape(x.shape)


def initialise(model: nn.Module) -> None:
    """Draw the convolutions' weights after He et al. (2015); the rest keeps torch's defaults."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
