"""Batches of tensors from sets of images, for training and for evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from foundation.bundle import Preprocessing
from pipeline.data.augment import augmented
from pipeline.data.images import ImageSet
from pipeline.recipe import AugmentRecipe

_EVALUATION_BATCH = 256


class TrainBatches:
    """Shuffled, augmented batches; order and views are functions of (seed, epoch).

    Args:
        images: what is learned from.
        preprocessing: from uint8 to the network's input.
        augment: how a view of an image may vary.
        batch_size: images a batch, at most; all batches of a pass are of one size, give or take
            an image, for a small last one would upset batch-norm.
        seed: the run's seed.
    """

    def __init__(
        self,
        images: ImageSet,
        preprocessing: Preprocessing,
        augment: AugmentRecipe,
        batch_size: int,
        seed: int,
    ) -> None:
        self.images, self.preprocessing, self.augment = images, preprocessing, augment
        self.batch_size, self.seed = batch_size, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and the views of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.images.labels) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        labels = self.images.labels
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(labels))
        for ids in np.array_split(order, len(self)):
            views = augmented(self.images.read(ids), ids, self.seed, self.epoch, self.augment)
            yield _tensors(views, labels[ids], self.preprocessing)


class EvaluationBatches:
    """All images once, in order, as they are."""

    def __init__(self, images: ImageSet, preprocessing: Preprocessing) -> None:
        self.images, self.preprocessing = images, preprocessing

    def __len__(self) -> int:
        return math.ceil(len(self.images.labels) / _EVALUATION_BATCH)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        labels = self.images.labels
        for start in range(0, len(labels), _EVALUATION_BATCH):
            ids = np.arange(start, min(start + _EVALUATION_BATCH, len(labels)))
            yield _tensors(self.images.read(ids), labels[ids], self.preprocessing)


def _tensors(
    images: np.ndarray, labels: np.ndarray, preprocessing: Preprocessing
) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(preprocessing.apply(images)), torch.from_numpy(labels)
