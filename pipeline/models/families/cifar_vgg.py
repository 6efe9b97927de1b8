"""VGG for small images, with batch norm: vgg8, vgg11, vgg13, vgg16 and vgg19.

Simonyan and Zisserman, "Very Deep Convolutional Networks" (2015): five groups of 3×3
convolutions. As in the distillation literature there is one linear layer instead of three, and
the image is halved between the first four groups only, so that 32×32 ends as 4×4.
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models import MODELS
from pipeline.models.families._layers import conv_bn, initialise, pooled

WIDTHS = (64, 128, 256, 512, 512)
CONVOLUTIONS = {
    8: (1, 1, 1, 1, 1),
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


class CifarVGG(nn.Module):
    """A plain stack of convolutions.

    Args:
        convolutions: how many each of the five groups has.
        num_classes: number of logits.
        in_channels: channels of the images.
    """

    def __init__(
        self,
        convolutions: tuple[int, int, int, int, int],
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        inputs = (in_channels, *WIDTHS)
        self.groups = nn.ModuleList(map(_group, inputs, WIDTHS, convolutions))
        self.fc = nn.Linear(WIDTHS[-1], num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, in_channels, H, W) to logits (N, num_classes)."""
        x = images
        for place, group in enumerate(self.groups):
            x = group(x if place in {0, len(self.groups) - 1} else F.max_pool2d(x, 2))
        logits: Tensor = self.fc(pooled(x))
        return logits


def _group(inputs: int, outputs: int, convolutions: int) -> nn.Sequential:
    first = conv_bn(inputs, outputs, 3)
    return nn.Sequential(first, *(conv_bn(outputs, outputs, 3) for _ in range(convolutions - 1)))


for _layers, _convolutions in CONVOLUTIONS.items():
    MODELS.register(f"vgg{_layers}")(partial(CifarVGG, _convolutions))
