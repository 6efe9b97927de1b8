"""Which images of a dataset are for what: to teach with, or to adopt a finished network on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from foundation.errors import DataLayoutError
from foundation.labels import UNLABELLED
from pipeline.data import Dataset
from pipeline.data.cut import (
    STUDENT,
    TEST,
    VALIDATION,
    absent,
    cut,
    cut_anywhere,
    cut_where_it_can_be,
)
from pipeline.data.images import ImageSet, Subset
from pipeline.recipe.sections.data import DataRecipe

_FEWEST_UNLABELLED = 5


@dataclass(frozen=True)
class Parts:
    """The parts of a dataset.

    Attributes:
        train: what a teacher learns from; of a finished network, what it is calibrated on.
        student_train: the part of it that a student learns from.
        validation: for every choice.
        test: for the final word.
        remarks: what somebody may not expect of them, a line each.
    """

    train: ImageSet
    student_train: ImageSet
    validation: ImageSet
    test: ImageSet
    remarks: list[str] = field(default_factory=list)


def are_labelled(images: ImageSet) -> bool:
    """Whether somebody says what images show."""
    return not bool((np.asarray(images.labels) == UNLABELLED).any())


def parts_to_teach(dataset: Dataset, recipe: DataRecipe) -> Parts:
    """The parts to teach with: what the dataset does not hold apart is cut, class by class.

    Raises:
        DataLayoutError: when there is nothing to learn from, or too little to cut.
    """
    whole, test, remarks = dataset.train, dataset.test, list[str]()
    if recipe.unlabelled:
        return parts_without_labels(dataset, recipe)
    if whole is None:
        raise DataLayoutError(_nothing_to_learn_message(dataset, recipe))
    labels, classes = whole.labels, dataset.classes
    ids = np.arange(len(labels))
    if test is None:
        ids, test_ids = cut(labels, ids, TEST, recipe, classes)
        test = Subset(whole, test_ids)
        remarks.append(
            f"{len(test_ids)} of {len(labels)} images, a share of each class, are the test images "
            f"(data.test_fraction = {recipe.test_fraction:g})"
        )
        remarks += absent(test.labels, labels, TEST, classes)
    train_ids, validation = ids, dataset.validation
    if validation is None:
        train_ids, validation_ids = cut(labels, ids, VALIDATION, recipe, classes)
        validation = Subset(whole, validation_ids)
        remarks += absent(validation.labels, labels, VALIDATION, classes)
    student_ids = train_ids
    if recipe.student_fraction < 1:
        _, student_ids = cut(labels, train_ids, STUDENT, recipe, classes)
        remarks += absent(labels[student_ids], labels, STUDENT, classes)
    return Parts(Subset(whole, train_ids), Subset(whole, student_ids), validation, test, remarks)


def parts_without_labels(dataset: Dataset, recipe: DataRecipe) -> Parts:
    """The parts of images of which nobody says what they show, drawn by chance alone.

    Raises:
        DataLayoutError: when there are too few to cut.
    """
    whole = dataset.test
    assert whole is not None, "they are read as test images"
    ids = np.arange(len(whole.labels))
    if len(ids) < _FEWEST_UNLABELLED:
        raise DataLayoutError(
            f"{recipe.unlabelled_from or recipe.name}: {len(ids)} images without labels, and "
            f"{_FEWEST_UNLABELLED} are the least, for some are held out for validation and for "
            "the test; add some"
        )
    ids, test_ids = cut_anywhere(ids, TEST, recipe)
    train_ids, validation_ids = cut_anywhere(ids, VALIDATION, recipe)
    student_ids = train_ids
    if recipe.student_fraction < 1:
        _, student_ids = cut_anywhere(train_ids, STUDENT, recipe)
    train, student, validation, test = (
        Subset(whole, part) for part in (train_ids, student_ids, validation_ids, test_ids)
    )
    remark = (
        f"{len(test_ids)} of {len(whole.labels)} images without labels, drawn by chance, are the "
        f"test images (data.test_fraction = {recipe.test_fraction:g})"
    )
    return Parts(train, student, validation, test, [remark])


def parts_to_adopt(dataset: Dataset, recipe: DataRecipe) -> Parts:
    """The parts to calibrate and judge a finished network on.

    It is judged on the test split, or without one on all images. What it is calibrated on, and
    validation images, come from the other splits, and are test images where there are none.
    """
    if dataset.test is None or dataset.train is None or len(dataset.train.labels) < 2:
        return _parts_of_test_images(dataset)
    train, remarks = dataset.train, list[str]()
    validation = dataset.validation
    if validation is None:
        labels, classes = train.labels, dataset.classes
        train_ids, validation_ids, remark = cut_where_it_can_be(labels, VALIDATION, recipe, classes)
        validation = Subset(train, validation_ids)
        remarks += [remark] if remark else absent(validation.labels, labels, VALIDATION, classes)
        train = Subset(train, train_ids)
    return Parts(train, train, validation, dataset.test, remarks)


def _parts_of_test_images(dataset: Dataset) -> Parts:
    """All parts, where there are no training images apart from those of the test."""
    test = dataset.train if dataset.test is None else dataset.test
    assert test is not None, "a dataset has images"
    calibrating = test if dataset.validation is None else dataset.validation
    count = len(test.labels)
    if not are_labelled(test):
        remark = f"INT8 is calibrated on some of the {count} images without labels"
    elif calibrating is test:
        remark = (
            f"all {count} images are test images; those that INT8 is calibrated on, and that "
            "choices are made by, are among them"
        )
    else:
        remark = (
            f"there are no training images: INT8 is calibrated on some of the "
            f"{len(calibrating.labels)} validation images"
        )
    return Parts(calibrating, calibrating, calibrating, test, [remark])


def _nothing_to_learn_message(dataset: Dataset, recipe: DataRecipe) -> str:
    assert dataset.test is not None, "a dataset has images"
    if not are_labelled(dataset.test):
        return (
            f"dataset {recipe.name}: its images have no labels, and there is nothing to learn from "
            "without, unless a finished teacher says what they are (--unlabelled); or put them "
            "into a folder a class, or write a table of path,label. A finished network can be "
            "exported on them: compress export MODEL --data"
        )
    return (
        f"dataset {recipe.name}: has test images, but none to learn from; add a train split. A "
        "finished network can be exported on it: compress export MODEL --data"
    )
