"""The residual networks for small images: resnet8 … resnet110, and resnet8x4 and resnet32x4.

He et al., "Deep Residual Learning for Image Recognition" (2016), section 4.2: three groups
of 16, 32 and 64 channels with n blocks each make 6n + 2 layers. Those called "x4", which the
distillation literature compares on, have four times the channels after a stem of 32.
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models import MODELS
from pipeline.models.families._layers import initialise, pooled

DEPTHS = (8, 14, 20, 32, 44, 56, 110)
DEPTHS_X4 = (8, 32)
WIDTHS = (16, 16, 32, 64)
WIDTHS_X4 = (32, 64, 128, 256)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut; a 1×1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        # A submodule, so that a tap can read what goes into it.
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        joined: Tensor = self.relu(residual + self.shortcut(x))
        return joined


class CifarResNet(nn.Module):
    """A residual network of 6n + 2 layers.

    Args:
        depth: 8, 14, 20, ...: six times a whole number, plus two.
        num_classes: number of logits.
        in_channels: channels of the images.
        widths: channels of the stem and of each group.

    Raises:
        ValueError: when the depth is another.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        in_channels: int = 3,
        widths: tuple[int, int, int, int] = WIDTHS,
    ) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth must be 6n + 2 with n at least 1, but got {depth=}")
        stem, first, second, third = widths
        self.conv1 = nn.Conv2d(in_channels, stem, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = _group(stem, first, blocks, stride=1)
        self.layer2 = _group(first, second, blocks, stride=2)
        self.layer3 = _group(second, third, blocks, stride=2)
        self.fc = nn.Linear(third, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, in_channels, H, W) to logits (N, num_classes)."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(pooled(x))
        return logits


def _group(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))


for _depth in DEPTHS:
    MODELS.register(f"resnet{_depth}")(partial(CifarResNet, _depth))
for _depth in DEPTHS_X4:
    MODELS.register(f"resnet{_depth}x4")(partial(CifarResNet, _depth, widths=WIDTHS_X4))
