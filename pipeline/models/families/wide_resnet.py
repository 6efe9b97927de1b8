"""Wide residual networks: wrn-DEPTH-WIDTH.

Zagoruyko and Komodakis, "Wide Residual Networks" (2016): three groups of 16, 32 and 64 channels
times the width, of pre-activation blocks (batch norm and ReLU come before each convolution).
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models import MODELS
from pipeline.models.families._layers import initialise, pooled

SIZES = ((16, 1), (16, 2), (28, 2), (28, 10), (40, 1), (40, 2), (40, 4))


class PreActivationBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut; a 1×1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        activated = F.relu(self.bn1(x))
        residual: Tensor = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        return residual + (x if self.shortcut is None else self.shortcut(activated))


class WideResNet(nn.Module):
    """A wide residual network of 6n + 4 layers.

    Args:
        depth: 10, 16, 22, 28, ...: six times a whole number, plus four.
        width: how many times as wide as the narrow one.
        num_classes: number of logits.
        in_channels: channels of the images.

    Raises:
        ValueError: when depth or width is another.
    """

    def __init__(self, depth: int, width: int, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth must be 6n + 4 with n at least 1, but got {depth=}")
        if width < 1:
            raise ValueError(f"width must be at least 1, but got {width=}")
        self.conv1 = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False)
        self.layer1 = _group(16, 16 * width, blocks, stride=1)
        self.layer2 = _group(16 * width, 32 * width, blocks, stride=2)
        self.layer3 = _group(32 * width, 64 * width, blocks, stride=2)
        self.last = nn.Sequential(nn.BatchNorm2d(64 * width), nn.ReLU())
        self.fc = nn.Linear(64 * width, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, in_channels, H, W) to logits (N, num_classes)."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(images))))
        logits: Tensor = self.fc(pooled(self.last(x)))
        return logits


def _group(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = PreActivationBlock(inputs, outputs, stride)
    rest = (PreActivationBlock(outputs, outputs, 1) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


for _depth, _width in SIZES:
    MODELS.register(f"wrn-{_depth}-{_width}")(partial(WideResNet, _depth, _width))
