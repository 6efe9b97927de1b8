"""Is a network from elsewhere what it was? Its accuracy here, against figures of its user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from foundation.errors import ModelMismatchError
from foundation.statistics import wilson_interval
from pipeline.run_folder.folder import Say
from smskd.checkpoints.foreign import Loaded

SLACK = 1.0
"""Percentage points that another decoder or another way of resizing may cost."""

_FEWEST_IMAGES = 20

_REASONS = (
    "the usual reasons: another mean and std (data.mean, data.std), another size "
    "(data.image_size), classes in another order, BGR instead of RGB, or a setting of the network "
    "that weights do not carry (settings)"
)


def check_expected(worth: Mapping[str, Any], expected: float | None, source: str) -> None:
    """Hold a network's accuracy against the one that its user knows.

    The expected figure must lie within Wilson's 95 % interval of what was measured, and `SLACK`.

    Args:
        worth: "top1" (0..1) on "n" test images.
        expected: in percent; None where nothing is known.
        source: the network, for messages.

    Raises:
        ModelMismatchError: when it falls short.
    """
    if expected is None or expected <= _highest(worth):
        return
    raise ModelMismatchError(
        f"{source}: answers {100 * worth['top1']:.2f} % of {worth['n']} test images rightly, but "
        f"{expected:.2f} % was expected; chance and {SLACK:g} point of slack explain up to "
        f"{_highest(worth):.2f} %; {_REASONS}"
    )


def remark_on_worth(
    worth: Mapping[str, Any], labels: ArrayLike, loaded: Loaded, source: str, say: Say
) -> None:
    """Say when a trained network does here what it cannot have done where it was trained.

    Args:
        worth: "top1" (0..1) on "n" test images.
        labels: of these images.
        loaded: what its checkpoint told.
        source: the network, for messages.
        say: told about it.
    """
    percent = 100 * worth["top1"]
    finding = f"{source}: answers {percent:.2f} % of {worth['n']} test images rightly"
    if loaded.accuracy is not None and loaded.accuracy[1] > _highest(worth):
        key, noted = loaded.accuracy
        say(f"{finding}, but its checkpoint notes {key} = {noted:.2f} %; {_REASONS}")
    elif _is_near_chance(worth, labels):
        say(f"{finding}, which is no better than chance; {_REASONS}")


def remark_on_classes(classes: Sequence[str], loaded: Loaded, source: str, say: Say) -> None:
    """Say when a checkpoint notes the classes in another order, or others, than the data has.

    Args:
        classes: the data's, in the order of its labels.
        loaded: what the checkpoint told.
        source: the network, for messages.
        say: told about it.
    """
    noted = loaded.classes
    if noted is None or list(noted) == list(classes):
        return
    if sorted(noted) == sorted(classes):
        place = next(
            n for n, pair in enumerate(zip(noted, classes, strict=True)) if len({*pair}) > 1
        )
        say(
            f"{source}: its checkpoint notes the classes in another order than the data has: class "
            f"{place} is {noted[place]!r} there, {classes[place]!r} here"
        )
    elif len(noted) == len(classes):
        strange = next(name for name in noted if name not in classes)
        say(f"{source}: its checkpoint notes other classes than the data has, such as {strange!r}")


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
