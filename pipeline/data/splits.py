"""From a dataset to what each part of the road may see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foundation.bundle import Preprocessing
from pipeline.data import Dataset
from pipeline.data.cut import cut
from pipeline.data.images import ImageSet, Subset, sample_of
from pipeline.recipe import DataRecipe

_STATISTICS_IMAGES = 10_000


@dataclass(frozen=True)
class Splits:
    """The parts of a dataset.

    Attributes:
        train: what the teacher learns from.
        student_train: the part of it that the student learns from.
        validation: held out for every choice.
        test: touched once, for the final word.
        preprocessing: from uint8 to a network's input; mean and deviation are those of `train`.
    """

    train: ImageSet
    student_train: ImageSet
    validation: ImageSet
    test: ImageSet
    classes: list[str]
    preprocessing: Preprocessing


def split(dataset: Dataset, recipe: DataRecipe) -> Splits:
    """Cut a dataset by the recipe's `split_seed`, class by class.

    Raises:
        DataLayoutError: when there are too few images to cut.
    """
    labels = dataset.train.labels
    train_ids, validation_ids = cut(labels, np.arange(len(labels)), recipe.val_fraction, recipe)
    student_ids = train_ids
    if recipe.student_fraction < 1:
        _, student_ids = cut(labels, train_ids, recipe.student_fraction, recipe)
    train = Subset(dataset.train, train_ids)
    return Splits(
        train=train,
        student_train=Subset(dataset.train, student_ids),
        validation=Subset(dataset.train, validation_ids),
        test=dataset.test,
        classes=dataset.classes,
        preprocessing=_preprocessing(train),
    )


def _preprocessing(train: ImageSet) -> Preprocessing:
    pixels = sample_of(train, _STATISTICS_IMAGES).pixels
    _, height, width, channels = pixels.shape
    scaled = pixels.reshape(-1, channels) / np.float64(255)
    # A channel that never varies would be divided by zero.
    deviation = np.maximum(scaled.std(0), 1e-3)
    return Preprocessing(
        height=height,
        width=width,
        channels=channels,
        mean=[round(float(value), 6) for value in scaled.mean(0)],
        std=[round(float(value), 6) for value in deviation],
    )
