"""From a dataset to what each part of the road may see."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from foundation.bundle import Preprocessing
from foundation.errors import RecipeError
from pipeline.data import Dataset, sides_of
from pipeline.data.cut import STUDENT, VALIDATION, absent, cut
from pipeline.data.images import ImageSet, Resized, Subset, blocks, spread
from pipeline.recipe.sections import DataRecipe

_STATISTICS_IMAGES = 10_000


@dataclass(frozen=True)
class Splits:
    """The parts of a dataset, as they lie: at the larger of student's and teacher's size.

    `for_student` and `for_teacher` bring a part to the size that each sees.

    Attributes:
        train: what the teacher learns from.
        student_train: the part of it that the student learns from.
        validation: held out for every choice.
        test: touched once, for the final word.
        preprocessing: from uint8 to the student's input; mean and deviation are those of `train`.
        teacher_preprocessing: the same at the size that the teacher sees.
        remarks: what somebody may not expect of the cut, a line each.
    """

    train: ImageSet
    student_train: ImageSet
    validation: ImageSet
    test: ImageSet
    classes: list[str]
    preprocessing: Preprocessing
    teacher_preprocessing: Preprocessing
    remarks: tuple[str, ...] = ()

    def for_student(self, images: ImageSet) -> ImageSet:
        """A part at the student's size."""
        return Resized(images, self.preprocessing.height, self.preprocessing.width)

    def for_teacher(self, images: ImageSet) -> ImageSet:
        """A part at the teacher's size."""
        size = self.teacher_preprocessing
        return Resized(images, size.height, size.width)


def split(dataset: Dataset, recipe: DataRecipe) -> Splits:
    """Cut a dataset by the recipe's `split_seed`, class by class.

    Raises:
        DataLayoutError: when there are too few images to cut.
        RecipeError: when a given mean or deviation is for another number of channels.
    """
    labels = dataset.train.labels
    ids, classes = np.arange(len(labels)), dataset.classes
    train_ids, validation_ids = cut(labels, ids, VALIDATION, recipe, classes)
    remarks = [*absent(labels[validation_ids], VALIDATION, classes)]
    student_ids = train_ids
    if recipe.student_fraction < 1:
        _, student_ids = cut(labels, train_ids, STUDENT, recipe, classes)
        remarks += absent(labels[student_ids], STUDENT, classes)
    train = Subset(dataset.train, train_ids)
    preprocessing = _with_statistics(_preprocessing(train, recipe.image_size), recipe)
    return Splits(
        train=train,
        student_train=Subset(dataset.train, student_ids),
        validation=Subset(dataset.train, validation_ids),
        test=dataset.test,
        classes=dataset.classes,
        preprocessing=preprocessing,
        teacher_preprocessing=at_size(preprocessing, recipe.teacher_image_size),
        remarks=tuple(remarks),
    )


def at_size(preprocessing: Preprocessing, size: int | list[int] | None) -> Preprocessing:
    """The same mean and deviation for images of another height and width; None leaves them."""
    if size is None:
        return preprocessing
    height, width = sides_of(size)
    return replace(preprocessing, height=height, width=width)


def _with_statistics(measured: Preprocessing, recipe: DataRecipe) -> Preprocessing:
    """The mean and deviation that the recipe gives, where it gives any."""
    for name, values in (("mean", recipe.mean), ("std", recipe.std)):
        if values is not None and len(values) != measured.channels:
            raise RecipeError(
                f"data.{name} = {values} has {len(values)} values, but the images have "
                f"{measured.channels} channels; give one value a channel"
            )
    return replace(measured, mean=recipe.mean or measured.mean, std=recipe.std or measured.std)


def _preprocessing(train: ImageSet, size: int | list[int] | None) -> Preprocessing:
    """Mean and deviation of a sample of the images, worked out block by block."""
    sums: list[NDArray[np.int64]] = []
    ids = spread(len(train.labels), _STATISTICS_IMAGES)
    for block in blocks(len(ids)):
        pixels = train.read(ids[block])
        rows = pixels.reshape(-1, pixels.shape[3]).astype(np.int64)
        sums.append(np.stack([np.full(rows.shape[1], len(rows)), rows.sum(0), (rows**2).sum(0)]))
    count, total, squares = np.sum(sums, axis=0)
    mean = total / count
    # A channel that never varies would be divided by zero.
    deviation = np.maximum(np.sqrt(np.maximum(squares / count - mean**2, 0)) / 255, 1e-3)
    _, height, width, channels = pixels.shape
    as_they_lie = Preprocessing(
        height=height,
        width=width,
        channels=channels,
        mean=[round(float(value), 6) for value in mean / 255],
        std=[round(float(value), 6) for value in deviation],
    )
    return at_size(as_they_lie, size)
