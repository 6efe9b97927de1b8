"""Networks of a few layers that the tests of several files look at."""

from __future__ import annotations

from torch import Tensor, nn


def halving(steps: int, width: int = 3, classes: int = 5) -> nn.Sequential:
    """A plain network that halves the resolution so many times."""
    parts: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU()]
    for _ in range(steps):
        parts += [nn.Conv2d(width, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


class Sharing(nn.Module):
    """One activation and one pooling for all layers, as tutorials write it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 4, 3, padding=1)
        self.relu, self.pool, self.head = nn.ReLU(), nn.MaxPool2d(2), nn.Linear(4 * 64, 5)

    def forward(self, images: Tensor) -> Tensor:
        halved = self.pool(self.relu(self.first(images)))
        return self.head(self.pool(self.relu(self.second(halved))).flatten(1))


class Brightness(nn.Module):
    """A network without a layer: its logits are the means of thirds of the image."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images, (1, 3)).flatten(1)
