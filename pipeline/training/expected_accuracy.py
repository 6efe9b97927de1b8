"""Is a network from elsewhere what it was? Its accuracy here, against figures of its user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foundation.errors import ModelMismatchError, RecipeError
from foundation.statistics import wilson_interval
from pipeline.data.class_order import class_order, numbers_in, order_names, spelling
from pipeline.run_folder.folder import Say
from pipeline.training.class_permutation import permutation_in
from smskd.checkpoints.foreign import Loaded

SLACK = 1.0
"""Percentage points that another decoder or another way of resizing may cost."""

_FEWEST_IMAGES = 20
_DOUBTFUL = 0.5  # a network with fewer right answers may have its classes in another order


@dataclass(frozen=True)
class Answered:
    """What a network answers to test images.

    Attributes:
        predicted: the class that each is answered with, shape (N,).
        labels: the class of each, shape (N,).
        classes: their names.
    """

    predicted: NDArray[np.int64]
    labels: NDArray[np.int64]
    classes: Sequence[str]


Answers = Callable[[], Answered]

_REASONS = (
    "the usual reasons: another mean and std (data.mean, data.std), another size "
    "(data.image_size), classes in another order, BGR instead of RGB, or a setting of the network "
    "that weights do not carry (settings)"
)


def check_expected(worth: Mapping[str, Any] | None, expected: float | None, source: str) -> None:
    """Hold a network's accuracy against the one that its user knows.

    The expected figure must lie within Wilson's 95 % interval of what was measured, and `SLACK`.

    Args:
        worth: "top1" (0..1) on "n" test images; None where they have no labels.
        expected: in percent; None where nothing is known.
        source: the network, for messages.

    Raises:
        ModelMismatchError: when it falls short.
        RecipeError: when there are no labels to tell.
    """
    if expected is None:
        return
    if worth is None:
        raise RecipeError(
            f"{source}: {expected:g} % of the test images was expected (expect_top1), but they "
            "have no labels; leave it out, or give images with labels"
        )
    if expected <= _highest(worth):
        return
    raise ModelMismatchError(
        f"{source}: answers {100 * worth['top1']:.2f} % of {worth['n']} test images rightly, but "
        f"{expected:.2f} % was expected; chance and {SLACK:g} point of slack explain up to "
        f"{_highest(worth):.2f} %; {_REASONS}"
    )


def remark_on_worth(
    worth: Mapping[str, Any],
    labels: ArrayLike,
    loaded: Loaded,
    source: str,
    say: Say,
    *,
    answers: Answers | None = None,
) -> None:
    """Say when a trained network does here what it cannot have done where it was trained.

    Args:
        worth: "top1" (0..1) on "n" test images.
        labels: of these images.
        loaded: what its checkpoint told.
        source: the network, for messages.
        say: told about it.
        answers: gives what it answers, to see whether its classes are in another order; asked
            where more than half of the images are answered wrongly.
    """
    _remark_on_accuracy(worth, labels, loaded, source, say)
    if answers is not None and worth["top1"] < _DOUBTFUL:
        _remark_on_order(answers(), worth, source, say)


def _remark_on_accuracy(
    worth: Mapping[str, Any], labels: ArrayLike, loaded: Loaded, source: str, say: Say
) -> None:
    percent = 100 * worth["top1"]
    finding = f"{source}: answers {percent:.2f} % of {worth['n']} test images rightly"
    if loaded.accuracy is not None and loaded.accuracy[1] > _highest(worth):
        key, noted = loaded.accuracy
        say(f"{finding}, but its checkpoint notes {key} = {noted:.2f} %; {_REASONS}")
    elif _is_near_chance(worth, labels):
        say(f"{finding}, which is no better than chance; {_REASONS}")


def _remark_on_order(answered: Answered, worth: Mapping[str, Any], source: str, say: Say) -> None:
    classes = answered.classes
    permutation = permutation_in(answered.predicted, answered.labels, classes)
    if permutation is None:
        return
    label, logit = permutation.example
    say(
        f"{source}: its classes seem to be in {permutation.order}: by it {permutation.right} of "
        f"{permutation.count} test images ({100 * permutation.right / permutation.count:.2f} %) "
        f"are answered rightly, and as they stand {100 * worth['top1']:.2f} %; images of class "
        f"{label} ({classes[label]!r}) are answered with {logit} ({classes[logit]!r}); set the "
        "network's own order with data.classes"
    )


def remark_on_classes(classes: Sequence[str], loaded: Loaded, source: str, say: Say) -> None:
    """Say when a network notes the classes in another order, or others, than the data has.

    Args:
        classes: the data's, in the order of its labels.
        loaded: what the network's file told.
        source: the network, for messages.
        say: told about it.
    """
    noted = loaded.classes
    if noted is None or len(noted) != len(classes):
        return
    own, here = _in_one_language(noted, classes)
    moved = [place for place, pair in enumerate(zip(own, here, strict=True)) if len({*pair}) > 1]
    if not moved:
        return
    first = f"class {moved[0]} is {noted[moved[0]]!r} there, {classes[moved[0]]!r} here"
    if sorted(own) == sorted(here):
        say(
            f"{source}: notes the classes in another order than the data has, at {len(moved)} of "
            f"{len(classes)} places: {first}; its own order is set with data.classes"
        )
    else:
        known = {*here}
        strange = [noted[place] for place in moved if own[place] not in known] or [noted[moved[0]]]
        say(
            f"{source}: notes other classes than the data has, {len(strange)} of {len(noted)}, "
            f"such as {strange[0]!r}: {first}"
        )


def _in_one_language(noted: Sequence[str], classes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Both in the words of a known order where it has them all, as WordNet's ids are names there;
    or else in plain letters."""
    for name in order_names():
        order = class_order(name)
        own, here = numbers_in(order, noted), numbers_in(order, classes)
        if own is not None and here is not None:
            return [order.classes[n] for n in own], [order.classes[n] for n in here]
    return list(map(spelling, noted)), list(map(spelling, classes))


def _highest(worth: Mapping[str, Any]) -> float:
    """The highest accuracy in percent that what was measured is compatible with."""
    _, high = wilson_interval(round(worth["top1"] * worth["n"]), worth["n"])
    return 100 * high + SLACK


def _is_near_chance(worth: Mapping[str, Any], labels: ArrayLike) -> bool:
    """Whether one who always names the most frequent class would do as well."""
    if worth["n"] < _FEWEST_IMAGES:
        return False
    chance = float(np.bincount(np.asarray(labels)).max()) / worth["n"]
    low, _ = wilson_interval(round(worth["top1"] * worth["n"]), worth["n"])
    return bool(low <= chance and worth["top1"] < (1 + chance) / 2)
