"""A small network with batch-norm and dropout, and data that it can learn in a second."""

from __future__ import annotations

import math
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


class PlainNet(nn.Module):
    """Like `ToyNet`, without batch-norm and dropout: each image's logits are its own affair."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.body = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.body(self.stem(images).relu()).relu()
        return self.head(features.mean((2, 3)))


class TinyViT(nn.Module):
    """A transformer over 2×2 patches, with a class token: (N, 1, 8, 8) to (N, classes)."""

    def __init__(self, width: int, depth: int, classes: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.1 * torch.randn(1, 17, width))
        block = nn.TransformerEncoderLayer(width, 2, 2 * width, 0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(block, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], dim=1)
        return self.head(self.norm(self.encoder(tokens + self.positions))[:, 0])


class ToyBatches:
    """Noise with stripes that run down, across, or not at all; each epoch in an order of its own.

    Attributes:
        epochs: what `set_epoch` was called with, in order.
        numbered: whether batches tell which samples they hold.
    """

    numbered = False

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
        return math.ceil(len(self.labels) / self.batch_size)

    @property
    def samples(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        numbers = torch.Generator().manual_seed(self.epochs[-1] if self.epochs else 0)
        order = torch.randperm(len(self.labels), generator=numbers)
        for ids in order.split(self.batch_size):
            batch = self.images[ids], self.labels[ids], ids
            yield batch if self.numbered else batch[:2]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tensors this small are slower on many threads, and the cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def net() -> Callable[..., nn.Module]:
    """Makes a network whose weights depend on the seed alone."""
    return _maker(ToyNet, width=4, classes=CLASSES)


@pytest.fixture
def plain() -> Callable[..., nn.Module]:
    """Makes a network without batch-norm and dropout."""
    return _maker(PlainNet, width=4, classes=CLASSES)


@pytest.fixture
def vit() -> Callable[..., nn.Module]:
    """Makes a tiny vision transformer."""
    return _maker(TinyViT, width=8, depth=3, classes=CLASSES)


def _maker(kind: type[nn.Module], **defaults: int) -> Callable[..., nn.Module]:
    def make(*, seed: int = 0, **settings: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return kind(**{**defaults, **settings})

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
