"""Cutting a set of images in two, class by class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from foundation.errors import DataLayoutError
from pipeline.data.images import Ids, Labels
from pipeline.data.kinds import a_few
from pipeline.recipe.sections.data import DataRecipe

_MOST_NAMED = 4


@dataclass(frozen=True)
class Cut:
    """What is cut off, in a recipe's words.

    Attributes:
        key: the key of [data] that gives its share.
        use: what it is for.
    """

    key: str
    use: str


VALIDATION = Cut("val_fraction", "held out for validation")
STUDENT = Cut("student_fraction", "seen by the student")
TEST = Cut("test_fraction", "held out for testing")


def cut(
    labels: Labels, ids: Ids, part: Cut, recipe: DataRecipe, classes: Sequence[str]
) -> tuple[Ids, Ids]:
    """Numbers of the rest and of a part, both in rising order.

    Args:
        labels: class of every image, shape (N,).
        ids: numbers of the images to cut.
        part: what is cut off; each class gives the same share.
        recipe: its `split_seed` decides which images.
        classes: names of the classes.

    Raises:
        DataLayoutError: when there are too few images to cut.
    """
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 - a second

    fraction: float = getattr(recipe, part.key)
    _check_enough_images(labels[ids], part, recipe, classes)
    rest, own = train_test_split(
        ids, test_size=fraction, random_state=recipe.split_seed, stratify=labels[ids]
    )
    return np.sort(rest), np.sort(own)


def cut_where_it_can_be(
    labels: Labels, part: Cut, recipe: DataRecipe, classes: Sequence[str]
) -> tuple[Ids, Ids, str | None]:
    """As `cut`, of all images, of which there are two or more; without regard to the classes where
    these have too few images.

    Returns:
        Numbers of the rest and of the part, and a line where classes were not regarded.
    """
    ids = np.arange(len(labels))
    try:
        return *cut(labels, ids, part, recipe, classes), None
    except DataLayoutError:
        rest, own = cut_anywhere(ids, part, recipe)
        remark = (
            f"the {len(own)} images {part.use} are drawn without regard to the classes: {len(ids)} "
            f"images of {len(np.unique(labels))} classes are too few to give some of each"
        )
        return rest, own, remark


def cut_anywhere(ids: Ids, part: Cut, recipe: DataRecipe) -> tuple[Ids, Ids]:
    """As `cut`, of two or more images, without regard to classes."""
    fraction: float = getattr(recipe, part.key)
    own = min(max(ceil(fraction * len(ids)), 1), len(ids) - 1)
    drawn = np.random.default_rng(recipe.split_seed).permutation(ids)
    return np.sort(drawn[own:]), np.sort(drawn[:own])


def _check_enough_images(
    labels: Labels, part: Cut, recipe: DataRecipe, classes: Sequence[str]
) -> None:
    """Make sure that each class can give an image to both parts."""
    fraction: float = getattr(recipe, part.key)
    present, counts = np.unique(labels, return_counts=True)
    lone = [classes[label] for label in present[counts < 2]]
    if lone:
        having = f"class {a_few(lone)} has" if len(lone) == 1 else f"{a_few(lone)} have"
        raise DataLayoutError(
            f"dataset {recipe.name}: {having} one image to learn from, and at least 2 are needed, "
            f"for some of each class are {part.use} (data.{part.key}); add images, or leave the "
            "class out"
        )
    total, own = len(labels), ceil(fraction * len(labels))
    if min(own, total - own) < len(present):
        # Rounded so that the share that is named will do.
        least = ceil(len(present) / total * 1000) / 1000
        share = least if own < len(present) else 1 - least
        advice = f"set it to {share:g}" if 2 * ceil(least * total) <= total else "add images"
        raise DataLayoutError(
            f"dataset {recipe.name}: data.{part.key} = {fraction:g} is too "
            f"{'small' if own < len(present) else 'large'} for {total} images of {len(present)} "
            f"classes: of each class one must be among the {own} that are {part.use}, and one "
            f"among the {total - own} others; {advice}"
        )


def absent(labels: Labels, whole: Labels, part: Cut, classes: Sequence[str]) -> Iterator[str]:
    """A line where a part has no image of some classes, for they have too few.

    Args:
        labels: of the part.
        whole: of what it was cut from; a class of which that has none is nobody's surprise.
        part: what was cut off.
        classes: names of the classes.
    """
    names = [classes[label] for label in np.setdiff1d(whole, labels)]
    if names:
        count = len(np.unique(whole))
        yield (
            f"no image of {a_few(names, _MOST_NAMED)} ({len(names)} of {count} classes) is "
            f"{part.use}: the class has too few (data.{part.key})"
        )
