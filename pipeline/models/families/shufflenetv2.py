"""ShuffleNetV2 for small images: shufflenetv2, "ShuV2" in the distillation literature.

Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design" (2018),
table 5, width 1; a 1×1 stem keeps 32×32 as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.models import MODELS
from pipeline.models.families._layers import conv_bn, initialise, pooled, shuffle

STEM = 24
WIDTHS = (116, 232, 464)
BLOCKS = (4, 8, 4)
LAST = 1024


class BasicUnit(nn.Module):
    """One half of the channels passes as it is, the other is worked on; then both are mixed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.body = nn.Sequential(
            conv_bn(half, half, 1),
            conv_bn(half, half, 3, groups=half, relu=False),
            conv_bn(half, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to the same shape."""
        passed, worked_on = x.chunk(2, dim=1)
        return shuffle(torch.cat([passed, self.body(worked_on)], dim=1), 2)


class DownUnit(nn.Module):
    """Two branches over all channels halve the image; each gives half of the outputs."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.left = nn.Sequential(
            conv_bn(inputs, inputs, 3, 2, groups=inputs, relu=False),
            conv_bn(inputs, half, 1),
        )
        self.right = nn.Sequential(
            conv_bn(inputs, half, 1),
            conv_bn(half, half, 3, 2, groups=half, relu=False),
            conv_bn(half, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H/2, W/2)."""
        return shuffle(torch.cat([self.left(x), self.right(x)], dim=1), 2)


class ShuffleNetV2(nn.Module):
    """A network of split, worked-on and shuffled channels.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.stem = conv_bn(in_channels, STEM, 1)
        inputs = (STEM, *WIDTHS)
        self.groups = nn.Sequential(*map(_group, inputs, WIDTHS, BLOCKS))
        self.last = conv_bn(WIDTHS[-1], LAST, 1)
        self.fc = nn.Linear(LAST, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, in_channels, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.fc(pooled(self.last(self.groups(self.stem(images)))))
        return logits


def _group(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(
        DownUnit(inputs, outputs), *(BasicUnit(outputs) for _ in range(blocks - 1))
    )


MODELS.register("shufflenetv2")(ShuffleNetV2)
