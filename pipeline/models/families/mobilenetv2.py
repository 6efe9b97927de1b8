"""MobileNetV2 for small images: mobilenetv2, "MV2" in the distillation literature.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018), table 2, at half
the width; the second group keeps its size, so that 32×32 ends as 2×2.
"""

from __future__ import annotations

from torch import Tensor, nn

from pipeline.models import MODELS
from pipeline.models.families._layers import conv_bn, initialise, pooled

STEM, LAST = 32, 1280
# Expansion, channels at full width, blocks, stride of the first block.
GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Widen by a 1×1 convolution, filter each channel, narrow again; a shortcut where it fits."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = inputs * expansion
        self.body = nn.Sequential(
            conv_bn(inputs, inside, 1),
            conv_bn(inside, inside, 3, stride, groups=inside),
            conv_bn(inside, outputs, 1, relu=False),
        )
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        out: Tensor = self.body(x)
        return out + x if self.has_shortcut else out


class MobileNetV2(nn.Module):
    """A network of inverted residuals.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        width: factor on the channels of all but the last convolution.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, width: float = 0.5) -> None:
        super().__init__()
        channels = int(STEM * width)
        self.stem = conv_bn(in_channels, channels, 3, stride=2)
        self.groups = nn.Sequential()
        for expansion, full, blocks, stride in GROUPS:
            outputs = int(full * width)
            self.groups.append(_group(channels, outputs, blocks, stride, expansion))
            channels = outputs
        self.last = conv_bn(channels, LAST, 1)
        self.fc = nn.Linear(LAST, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, in_channels, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.fc(pooled(self.last(self.groups(self.stem(images)))))
        return logits


def _group(inputs: int, outputs: int, blocks: int, stride: int, expansion: int) -> nn.Sequential:
    first = InvertedResidual(inputs, outputs, stride, expansion)
    rest = (InvertedResidual(outputs, outputs, 1, expansion) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


MODELS.register("mobilenetv2")(MobileNetV2)
