"""A small network with batch-norm and dropout, and data that it can learn in a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

CLASSES = 3


class ToyNet(nn.Module):
    """Two convolutions at two resolutions, and a linear head: (N, 1, 8, 8) to (N, classes)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width))
        self.body = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width)
        )
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.body(self.stem(images).relu()).relu()
        return self.head(self.drop(features.mean((2, 3))))


class ToyBatches:
    """Noise with stripes that run down, across, or not at all; each epoch in an order of its own.

    Attributes:
        epochs: what `set_epoch` was called with, in order.
    """

    def __init__(self, count: int = 32, batch_size: int = 8, seed: int = 0) -> None:
        numbers = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(CLASSES, (count,), generator=numbers)
        stripes = torch.tensor([1.0, -1.0]).repeat(8, 4)
        patterns = torch.stack([stripes, stripes.T, torch.zeros(8, 8)])
        noise = torch.randn((count, 1, 8, 8), generator=numbers)
        self.images = patterns[self.labels].unsqueeze(1) + 0.5 * noise
        self.batch_size = batch_size
        self.epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def __len__(self) -> int:
        return len(self.labels) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        numbers = torch.Generator().manual_seed(self.epochs[-1] if self.epochs else 0)
        order = torch.randperm(len(self.labels), generator=numbers)
        for ids in order.split(self.batch_size):
            yield self.images[ids], self.labels[ids]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tensors this small are slower on many threads, and the cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def net() -> Callable[..., nn.Module]:
    """Makes a network whose weights depend on the seed alone."""

    def make(width: int = 4, classes: int = CLASSES, seed: int = 0) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return ToyNet(width, classes)

    return make


@pytest.fixture
def data() -> ToyBatches:
    return ToyBatches()


@pytest.fixture
def teacher(net: Callable[..., nn.Module], data: ToyBatches) -> nn.Module:
    """A wider network, with batch-norm statistics of the data."""
    model = net(width=6, seed=1)
    with torch.no_grad():
        for images, _ in data:
            model(images)
    return model
