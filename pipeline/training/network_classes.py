"""Which classes a finished network knows, and in which order, as far as it tells."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from export.graphs.recorded_classes import logit_count_of, recorded_classes
from foundation.bundle import Preprocessing
from foundation.errors import DataLayoutError, ModelMismatchError
from pipeline.data import Dataset
from pipeline.data.class_order import class_order, is_number, numbers_in, order_names
from pipeline.data.images import Images
from pipeline.models import classes_of
from pipeline.models.teachers import NamedTeacher, TeacherRequest, asked_teacher
from pipeline.recipe.sections.data import DataRecipe
from pipeline.recipe.sections.networks import NetworkRecipe, StudentRecipe
from pipeline.recipe.sections.recipe import Recipe
from pipeline.training.foreign_models import is_graph


@dataclass(frozen=True)
class NetworkClasses:
    """The classes of a finished network.

    Attributes:
        source: the network, for messages.
        names: in the order of its logits; empty where it does not tell.
        count: how many logits it gives; None where it does not tell.
    """

    source: str
    names: tuple[str, ...] = ()
    count: int | None = None

    @property
    def identity(self) -> str:
        """The classes in one word."""
        return hashlib.sha256(json.dumps([self.names, self.count]).encode()).hexdigest()

    def given_to(self, dataset: Dataset, recipe: DataRecipe) -> Dataset:
        """A dataset whose classes are the network's where it has none itself, being unlabelled.

        Raises:
            ModelMismatchError: when it has, but not as many as the network.
            DataLayoutError: when neither tells the classes.
        """
        if dataset.classes:
            if self.count is not None:
                check_class_count(self.source, self.count, dataset.classes)
            known = [] if self.names or recipe.classes else _known_order_remarks(dataset.classes)
            return replace(dataset, remarks=(*dataset.remarks, *known))
        names = self.names or tuple(map(str, range(self.count or 0)))
        if not names:
            raise DataLayoutError(
                f"dataset {recipe.name}: its images have no labels, and {self.source} does not "
                "tell its classes; name them with --classes (data.classes), such as imagenet1k or "
                "a file with a name a line"
            )
        whose = "network's own" if self.names else "network's logits by their numbers"
        remark = f"{len(names)} classes are the {whose}; data.classes names others"
        return replace(dataset, classes=list(names), remarks=(*dataset.remarks, remark))


def network_classes(student: StudentRecipe) -> NetworkClasses:
    """What a finished network tells of its classes before it is run."""
    source = student.weights or student.model
    if is_graph(student.model):
        path = Path(student.model)
        return NetworkClasses(source, recorded_classes(path) or (), logit_count_of(path))
    names = tuple(classes_of(student.model, student.weights))
    return NetworkClasses(source, names, len(names) or None)


def teacher_classes(recipe: Recipe, dataset: Dataset) -> NetworkClasses:
    """What a finished teacher tells of its classes, before it teaches; of several the first that
    names them, or else that tells how many there are.

    Args:
        recipe: names them; where one is asked and does not tell how many classes it knows, it is
            asked about two images.
        dataset: has these.

    Raises:
        ModelMismatchError: when it does not answer.
    """
    sections: Sequence[NetworkRecipe] = recipe.teachers or [recipe.teacher]
    known = [_told_by(section, dataset) for section in sections]
    return max(known, key=lambda told: (bool(told.names), told.count is not None))


def _told_by(teacher: NetworkRecipe, dataset: Dataset) -> NetworkClasses:
    source, asked = teacher.weights or teacher.model, asked_teacher(teacher.model)
    if asked is None:
        names = tuple(classes_of(teacher.model, teacher.weights))
        return NetworkClasses(source, names, len(names) or None)
    names = asked.kind.classes(asked.argument) or ()
    count = len(names) or asked.kind.class_count(asked.argument)
    if count is None and asked.kind.exported is None:
        images = dataset.test if dataset.train is None else dataset.train
        assert images is not None, "a dataset has images"
        count = _answered_count(asked, images.read(np.zeros(2, np.int64)))
    return NetworkClasses(source, names, count)


def _answered_count(asked: NamedTeacher, pixels: Images) -> int:
    _, height, width, channels = pixels.shape
    shape = Preprocessing(height, width, channels, [0.0] * channels, [1.0] * channels)
    teacher = asked.kind.open(TeacherRequest(asked.argument, shape, (), Path()))
    return int(teacher(torch.from_numpy(shape.apply(pixels))).shape[1])


def _known_order_remarks(classes: Sequence[str]) -> Iterator[str]:
    """A line where classes are just those of a known order, which a network may well have."""
    for name in order_names():
        numbers = numbers_in(class_order(name), classes)
        if numbers is None or sorted(numbers) != list(range(len(class_order(name).classes))):
            continue
        moved = [place for place, number in enumerate(numbers) if place != number]
        if moved:
            yield (
                f"the classes are those of {name} in another order, at {len(moved)} of "
                f"{len(classes)} places: class {moved[0]} is {classes[moved[0]]!r} here and "
                f"{class_order(name).classes[moved[0]]!r} there; if the network has that order, "
                f"add --classes {name} (data.classes)"
            )


def check_class_count(source: str, count: int, classes: Sequence[str]) -> None:
    """Make sure that a network has as many logits as the data has classes.

    Args:
        source: the network, for the message.
        count: its logits.
        classes: the data's.

    Raises:
        ModelMismatchError: when it has not; with the known order that these classes are from.
    """
    if count == len(classes):
        return
    advice = order_advice(count, classes) or (
        "give the data that it was trained for, or say with data.classes which of its classes "
        "these are, and in which order"
    )
    raise ModelMismatchError(
        f"{source}: gives {count} logits, but the data has {len(classes)} classes; {advice}"
    )


def order_advice(count: int | None, classes: Sequence[str]) -> str | None:
    """What to do where classes are some of a known order of so many; None where they are not, or
    are numbers, which are in any order."""
    if all(map(is_number, classes)):
        return None
    for name in order_names():
        order = class_order(name)
        if len(order.classes) == count and numbers_in(order, classes):
            return f"the classes are all in {name}: add --classes {name} (data.classes)"
    return None
