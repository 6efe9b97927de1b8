"""A small convolutional network and a small transformer, and what they say side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from smskd.batch import Batch
from smskd.features.signals import Shapes, Signals
from smskd.features.taps import TappedModel
from smskd.pair import Pair, make_pair

SAMPLES, SIDE, CLASSES = 6, 12, 5

Shape = tuple[int, int, int]


class TinyCNN(nn.Module):
    """Three resolutions and a linear head: (N, 3, 12, 12) to (N, classes)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = self._block(3, width, 1)
        self.middle = self._block(width, 2 * width, 2)
        self.last = self._block(2 * width, 3 * width, 2)
        self.head = nn.Linear(3 * width, CLASSES)

    @staticmethod
    def _block(channels: int, wanted: int, stride: int) -> nn.Sequential:
        convolution = nn.Conv2d(channels, wanted, 3, stride, padding=1)
        return nn.Sequential(convolution, nn.BatchNorm2d(wanted), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.last(self.middle(self.stem(images))).mean((2, 3)))


class TinyViT(nn.Module):
    """3×3 patches and a class token: (N, 3, 12, 12) to (N, classes)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, 10, width))
        self.blocks = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    width, 2, 2 * width, dropout=0.0, batch_first=True, norm_first=True
                )
                for _ in range(3)
            )
        )
        self.head = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], 1)
        return self.head(self.blocks(tokens + self.places)[:, 0])


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def batch() -> Batch:
    """Images, one class each, and ids."""
    numbers = torch.Generator().manual_seed(7)
    images = torch.randn((SAMPLES, 3, SIDE, SIDE), generator=numbers)
    labels = torch.arange(SAMPLES) % CLASSES
    return Batch(images, labels, torch.arange(SAMPLES), view=0)


@pytest.fixture
def mixed_batch(batch: Batch) -> Batch:
    """The same images with probabilities of the classes for labels."""
    labels = nn.functional.one_hot(batch.labels, CLASSES).float()
    return batch._replace(labels=0.7 * labels + 0.3 * labels.roll(1, 0))


@pytest.fixture
def pair_of(batch: Batch) -> Callable[[str, str], Pair]:
    """Makes a pair of networks by kind, "cnn" or "vit"; the teacher is wider."""
    kinds = {"cnn": TinyCNN, "vit": TinyViT}

    def make(student: str, teacher: str) -> Pair:
        torch.manual_seed(0)
        ours, theirs = kinds[student](4), kinds[teacher](6)
        with torch.no_grad():
            theirs(batch.images)  # Batch-norm statistics of its own.
        return make_pair(ours, theirs.eval(), batch.images, samples=SAMPLES)

    return make


@pytest.fixture
def pair_with() -> Callable[[Sequence[Shape], Sequence[Shape]], Pair]:
    """Makes a pair of networks that are classifiers alone, by the shapes (C, H, W) of features."""

    def make(ours: Sequence[Shape], theirs: Sequence[Shape]) -> Pair:
        networks = [
            TappedModel(nn.Linear(features[-1][0], CLASSES), classifier="")
            for features in (ours, theirs)
        ]
        shapes = [
            Shapes((CLASSES,), tuple(features), features[-1][0]) for features in (ours, theirs)
        ]
        return Pair(*networks, *shapes, samples=SAMPLES)

    return make


@pytest.fixture
def said() -> Callable[..., Signals]:
    """Makes signals out of features, with logits that say nothing."""

    def make(*features: Tensor) -> Signals:
        count = len(features[0])
        pooled = features[-1].flatten(2).mean(2)
        return Signals(torch.zeros(count, CLASSES), features, pooled)

    return make


@pytest.fixture
def random_signals() -> Callable[..., Signals]:
    """Makes random signals on the batch, by the shapes (C, H, W) of the features."""
    numbers = torch.Generator().manual_seed(5)

    def drawn(*shape: int, dtype: torch.dtype) -> Tensor:
        return torch.randn((SAMPLES, *shape), generator=numbers, dtype=dtype)

    def make(shapes: Sequence[Shape], dtype: torch.dtype = torch.float32) -> Signals:
        features = tuple(drawn(*shape, dtype=dtype) for shape in shapes)
        embedding = drawn(shapes[-1][0], dtype=dtype)
        return Signals(drawn(CLASSES, dtype=dtype), features, embedding)

    return make
