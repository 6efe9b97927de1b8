"""Are a network's classes in another order than the labels? Its answers show it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from foundation.statistics import wilson_interval
from pipeline.data.class_order import class_order, is_number, numbers_in, order_names

_FEWEST_IMAGES = 20

Classes = NDArray[np.int64]


@dataclass(frozen=True)
class Permutation:
    """Another order of the classes, by which a network answers better than chance explains.

    Attributes:
        order: what it is, in words.
        right: how many images it answers rightly by it.
        count: of so many.
        example: a class's number here, and the number of the logit that answers to it.
    """

    order: str
    right: int
    count: int
    example: tuple[int, int]


def permutation_in(
    predicted: Classes, labels: Classes, classes: Sequence[str]
) -> Permutation | None:
    """The order of the classes that a network seems to have; None where it is the labels' own, or
    the answers do not tell.

    Orders that people get by sorting otherwise are held against all images. Any other is worked out
    of one half of each class's images and held against the other half, so that a network without
    any order is not given one.

    Args:
        predicted: the class that each image was answered with, shape (N,).
        labels: the class of each image, shape (N,).
        classes: their names.
    """
    if len(labels) < _FEWEST_IMAGES:
        return None
    _, high = wilson_interval(int((predicted == labels).sum()), len(labels))
    most_frequent = int(np.bincount(labels, minlength=len(classes)).max())
    _, by_chance = wilson_interval(most_frequent, len(labels))
    every = [
        *_sorted_otherwise(predicted, labels, classes),
        *_worked_out(predicted, labels, classes),
    ]
    shown = [
        other
        for other in every
        if wilson_interval(other.right, other.count)[0] > max(high, by_chance)
    ]
    return max(shown, key=lambda other: other.right / other.count, default=None)


def _sorted_otherwise(
    predicted: Classes, labels: Classes, classes: Sequence[str]
) -> Iterator[Permutation]:
    """The classes by orders that come of sorting names, or of counting from another number, and by
    known ones that have just these classes."""
    count = len(classes)
    orders = {"the order of the alphabet": sorted(range(count), key=lambda n: classes[n])}
    orders["the order of the alphabet, in small letters"] = sorted(
        range(count), key=lambda n: classes[n].casefold()
    )
    orders["the order of their numbers as text (0, 1, 10, 100, …)"] = sorted(range(count), key=str)
    if all(map(is_number, classes)):
        orders["the order of their names as numbers"] = sorted(
            range(count), key=lambda n: int(classes[n])
        )
    for shift, words in ((1, "one place further"), (-1, "one place before")):
        orders[words] = [(place - shift) % count for place in range(count)]
    for name in order_names():
        numbers = numbers_in(class_order(name), classes)
        if numbers is not None and sorted(numbers) == list(range(count)):
            orders[f"the order of {name}"] = np.argsort(numbers).tolist()
    for words, order in orders.items():
        if order == list(range(count)):
            continue
        label_of = np.array(order, np.int64)  # by the place of the logit
        yield _held_against(label_of, words, predicted, labels)


def _worked_out(
    predicted: Classes, labels: Classes, classes: Sequence[str]
) -> Iterator[Permutation]:
    """The order that suits the answers best, each half of the images judged by the other's."""
    halves = _halves(labels)
    if not halves.any():
        return
    count, right, example = 0, 0, None
    for half in (halves, ~halves):
        label_of = _best_order(predicted[half], labels[half], len(classes))
        judged = _held_against(label_of, "", predicted[~half], labels[~half])
        right, count = right + judged.right, count + judged.count
        example = example or judged.example
    yield Permutation("an order of their own", right, count, example or (0, 0))


def _halves(labels: Classes) -> NDArray[np.bool_]:
    """Every second image of each class, shape (N,)."""
    order = np.argsort(labels, kind="stable")
    firsts = np.searchsorted(labels[order], labels[order])
    second = np.zeros(len(labels), np.bool_)
    second[order] = (np.arange(len(labels)) - firsts) % 2 == 1
    return second


def _best_order(predicted: Classes, labels: Classes, count: int) -> Classes:
    """The label of each logit by which most images are answered rightly, one to one: (classes,)."""
    confusion = np.zeros((count, count), np.int64)
    np.add.at(confusion, (predicted, labels), 1)
    logits, label_of = linear_sum_assignment(confusion, maximize=True)
    return np.asarray(label_of[np.argsort(logits)], np.int64)


def _held_against(
    label_of: Classes, order: str, predicted: Classes, labels: Classes
) -> Permutation:
    right = label_of[predicted] == labels
    moved = np.flatnonzero(right & (predicted != labels))
    place = int(moved[0]) if len(moved) else None
    example = (0, 0) if place is None else (int(labels[place]), int(predicted[place]))
    return Permutation(order, int(right.sum()), len(labels), example)
