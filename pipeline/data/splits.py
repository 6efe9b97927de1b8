"""From a dataset to what each part of the road may see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from foundation.bundle import Preprocessing
from foundation.errors import RecipeError
from foundation.memory import at_once
from pipeline.data import Dataset, sides_of
from pipeline.data.fitting import as_recipe, fit_at
from pipeline.data.framing import Fit
from pipeline.data.images import BLOCK, Framed, ImageSet, blocks, spread
from pipeline.data.joined import Joined
from pipeline.data.parts import Parts, are_labelled, parts_to_teach, parts_without_labels
from pipeline.models.preparation import Preparation
from pipeline.recipe.sections.data import DataRecipe

_STATISTICS_IMAGES = 10_000

PartsFor = Callable[[Dataset, DataRecipe], Parts]
"""Says which images of a dataset are for what."""


@dataclass(frozen=True)
class Unlabelled:
    """Images of which nobody says what they show: those held out for every choice, and those for
    the final word."""

    validation: ImageSet
    test: ImageSet

    @property
    def parts(self) -> dict[str, ImageSet]:
        """Both, by name."""
        return {"validation": self.validation, "test": self.test}


@dataclass(frozen=True)
class Splits:
    """The parts of a dataset, as pictures.

    `for_student` and `for_teacher` take of a part what each sees.

    Attributes:
        train: what the teacher learns from; of a finished network, what it is calibrated on.
        student_train: the part of it that the student learns from.
        validation: held out for every choice.
        test: touched once, for the final word.
        with_labels: the part of `student_train` that has labels, where some has none.
        unlabelled: images without labels, on which students are held against the teacher's answers;
            None where all have one.
        preprocessing: from a picture to the student's input; mean and deviation are those of
            `train`, unless they are known.
        teacher_preprocessing: the same for the teacher.
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
    with_labels: ImageSet | None = None
    unlabelled: Unlabelled | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Images of each part; none where those of the test stand in for them."""
        parts = {
            "train": self.train,
            "student_train": self.student_train,
            "validation": self.validation,
        }
        counts = {
            name: 0 if images is self.test else len(images.labels) for name, images in parts.items()
        }
        counts["test"] = len(self.test.labels)
        if self.unlabelled is not None and self.are_labelled:
            for name, images in self.unlabelled.parts.items():
                counts[f"unlabelled_{name}"] = len(images.labels)
        return counts

    @property
    def are_labelled(self) -> bool:
        """Whether somebody says what the images show."""
        return are_labelled(self.test)

    def for_student(self, images: ImageSet) -> ImageSet:
        """A part as the student sees it."""
        return Framed(images, Fit.of(self.preprocessing))

    def for_teacher(self, images: ImageSet) -> ImageSet:
        """A part as the teacher sees it."""
        return Framed(images, Fit.of(self.teacher_preprocessing))


def split(
    dataset: Dataset,
    recipe: DataRecipe,
    teacher: Preparation | None = None,
    source: str = "",
    *,
    parts_for: PartsFor = parts_to_teach,
    further: Dataset | None = None,
) -> Splits:
    """Cut a dataset by the recipe's `split_seed`, and see how its pictures become images.

    Args:
        dataset: the dataset.
        recipe: the data section, with all that is known of the student's images.
        teacher: what is known of the teacher's images; the rest, or all, is as the student's.
        source: where that which is known was taken from, in words.
        parts_for: says which images are for what.
        further: images without labels that the student learns from beside the others.

    Raises:
        DataLayoutError: when there are too few images to cut.
        RecipeError: when a given mean or deviation is for another number of channels.
    """
    parts = parts_for(dataset, recipe)
    preprocessing = _preprocessing(parts.train, recipe, dataset.grey_bits, source)
    student_train, remarks = parts.student_train, list(parts.remarks)
    unlabelled = Unlabelled(parts.validation, parts.test) if recipe.unlabelled else None
    if further is not None:
        # All of it is the student's: student_fraction is that of the images with labels.
        beside = parts_without_labels(further, recipe.model_copy(update={"student_fraction": 1.0}))
        unlabelled = Unlabelled(beside.validation, beside.test)
        student_train = Joined(student_train, beside.student_train, Fit.of(preprocessing))
        remarks += beside.remarks
    return Splits(
        train=parts.train,
        student_train=student_train,
        validation=parts.validation,
        test=parts.test,
        classes=dataset.classes,
        preprocessing=preprocessing,
        teacher_preprocessing=preprocessing_of_teacher(
            preprocessing, recipe, teacher or Preparation()
        ),
        remarks=tuple(remarks),
        with_labels=parts.student_train if further is not None else None,
        unlabelled=unlabelled,
    )


def _preprocessing(
    train: ImageSet, recipe: DataRecipe, grey_bits: int, source: str
) -> Preprocessing:
    """From a picture to the student's input; what nobody says is measured on the images."""
    size = recipe.image_size
    shape = train.read(np.arange(1)).shape[1:3] if size is None else sides_of(size)
    fit = fit_at((shape[0], shape[1]), recipe.preprocessing)
    mean, std = _statistics(Framed(train, fit))
    for name, values in (("mean", recipe.mean), ("std", recipe.std)):
        if values is not None and len(values) != len(mean):
            raise RecipeError(
                f"data.{name} = {values} has {len(values)} values, but the images have "
                f"{len(mean)} channels; give one value a channel"
            )
    return Preprocessing(
        height=fit.height,
        width=fit.width,
        channels=len(mean),
        mean=recipe.mean or mean,
        std=recipe.std or std,
        resize=fit.resize,
        fit=fit.fit,
        resize_to=None if fit.resize_to is None else list(fit.resize_to),
        antialias=fit.antialias,
        pad_colour=list(fit.pad_colour),
        ground=list(recipe.ground),
        grey_bits=grey_bits,
        source=source,
    )


def _statistics(images: ImageSet) -> tuple[list[float], list[float]]:
    """Mean and deviation of a sample of the images, worked out block by block."""
    sums: list[NDArray[np.int64]] = []
    ids = spread(len(images.labels), _STATISTICS_IMAGES)
    for block in blocks(len(ids), at_once(images.read(ids[:1]), BLOCK)):
        pixels = images.read(ids[block])
        rows = pixels.reshape(-1, pixels.shape[3]).astype(np.int64)
        sums.append(np.stack([np.full(rows.shape[1], len(rows)), rows.sum(0), (rows**2).sum(0)]))
    count, total, squares = np.sum(sums, axis=0)
    mean = total / count
    # A channel that never varies would be divided by zero.
    deviation = np.maximum(np.sqrt(np.maximum(squares / count - mean**2, 0)) / 255, 1e-3)
    return _rounded(mean / 255), _rounded(deviation)


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [round(float(value), 6) for value in values]


def preprocessing_of_teacher(
    student: Preprocessing, recipe: DataRecipe, teacher: Preparation
) -> Preprocessing:
    """From a picture to the teacher's input: the student's, but for what is known of it."""
    size = recipe.teacher_image_size
    own = replace(teacher, size=(size, size)) if size else teacher
    known = own.over(Preparation.of(student))
    sides = known.size or (student.height, student.width)
    fit = fit_at(sides, as_recipe(known))
    own_preprocessing = replace(
        student,
        height=fit.height,
        width=fit.width,
        mean=list(known.mean or student.mean),
        std=list(known.std or student.std),
        resize=fit.resize,
        fit=fit.fit,
        resize_to=None if fit.resize_to is None else list(fit.resize_to),
        antialias=fit.antialias,
        pad_colour=list(fit.pad_colour),
    )
    if own_preprocessing == student:
        return student
    return replace(own_preprocessing, source=known.source or student.source)
