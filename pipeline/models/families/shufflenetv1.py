"""ShuffleNet for small images: shufflenetv1, "ShuV1" in the distillation literature.

Zhang et al., "ShuffleNet" (2018), table 1, three groups; a 1×1 stem keeps 32×32 as it is, and a
ReLU follows each depthwise convolution too, as in the networks that the literature compares.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models import MODELS
from pipeline.models.families._layers import conv_bn, initialise, pooled, shuffle

GROUPS = 3
STEM = 24
WIDTHS = (240, 480, 960)
BLOCKS = (4, 8, 4)


class ShuffleUnit(nn.Module):
    """Grouped 1×1, shuffle, depthwise 3×3, grouped 1×1.

    With stride 1 the input is added; with stride 2 its mean is put beside the rest.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        computed = outputs - inputs if stride == 2 else outputs
        inside = computed // 4
        # The few channels of the stem are not worth grouping (the paper's section 3.2).
        self.groups = 1 if inputs == STEM else GROUPS
        self.narrow = conv_bn(inputs, inside, 1, groups=self.groups)
        self.depthwise = conv_bn(inside, inside, 3, stride, groups=inside)
        self.widen = conv_bn(inside, computed, 1, groups=GROUPS, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        residual: Tensor = self.widen(self.depthwise(shuffle(self.narrow(x), self.groups)))
        if self.stride == 1:
            return F.relu(residual + x)
        smaller = F.avg_pool2d(x, 3, stride=2, padding=1)
        return F.relu(torch.cat([residual, smaller], dim=1))


class ShuffleNetV1(nn.Module):
    """A network of shuffle units.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.stem = conv_bn(in_channels, STEM, 1)
        inputs = (STEM, *WIDTHS)
        self.groups = nn.Sequential(*map(_group, inputs, WIDTHS, BLOCKS))
        self.fc = nn.Linear(WIDTHS[-1], num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, in_channels, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.fc(pooled(self.groups(self.stem(images))))
        return logits


def _group(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    first = ShuffleUnit(inputs, outputs, stride=2)
    return nn.Sequential(first, *(ShuffleUnit(outputs, outputs, 1) for _ in range(blocks - 1)))


MODELS.register("shufflenetv1")(ShuffleNetV1)
