"""Datasets, one a file. Importing a file registers its dataset.

A dataset is a function that loads it: see `Loader`. A recipe names it with what it
needs behind a colon: "digits", "folder:PATH".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from foundation.errors import RecipeError
from foundation.registry import Registry
from pipeline.data.class_order import class_order

if TYPE_CHECKING:
    from pipeline.data.images import ImageSet
    from pipeline.recipe.sections.data import DataRecipe


@dataclass(frozen=True)
class Dataset:
    """A dataset with its official test split, if it has one.

    Attributes:
        train: all images that may be learned from; None where there are none.
        test: images for the final word; None where they are still to be cut from `train`.
        classes: names, in the order of the labels; empty where images have no labels and nobody
            said.
        skipped: image files that were passed over because they cannot be decoded.
        remarks: what was decided by looking at the files, and what was left out, a line each.
        grey_bits: bits that grey values of more than eight were taken to have.
        validation: images held out for every choice; None where they are cut from `train`.
    """

    train: ImageSet | None
    test: ImageSet | None
    classes: list[str]
    skipped: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    grey_bits: int = 16
    validation: ImageSet | None = field(default=None, kw_only=True)


Loader = Callable[[str, "DataRecipe"], Dataset]
"""Loads a dataset: (what stands behind the colon, the recipe's data section) -> Dataset."""

DATASETS: Registry[Loader] = Registry("dataset", "pipeline.data.sets")


def load_dataset(recipe: DataRecipe, where: str = "") -> Dataset:
    """The dataset that a recipe names.

    Args:
        recipe: the data section.
        where: the place of the name in the recipe, for messages.

    Raises:
        UnknownNameError: when there is no such dataset.
        MissingFileError, DataLayoutError, UnreadableImageError: when its files are not right.
        RecipeError: when the recipe has classes for a dataset that names them itself.
    """
    name, _, argument = recipe.name.partition(":")
    dataset = DATASETS.get(name, where)(argument, recipe)
    if recipe.classes is not None and dataset.classes != class_order(recipe.classes).classes:
        raise RecipeError(
            f"data.classes = {recipe.classes!r}, but dataset {name} names its classes itself, from "
            f"{dataset.classes[0]!r} to {dataset.classes[-1]!r}; leave data.classes out"
        )
    return dataset


def load_size(recipe: DataRecipe) -> int | None:
    """Height and width of the square that a dataset is loaded at: the larger of student's and
    teacher's. None is the dataset's own.
    """
    sides = load_sides(recipe)
    return None if sides is None else max(sides)


def load_sides(recipe: DataRecipe) -> tuple[int, int] | None:
    """The same for a dataset that can be loaded at a height and a width of its own."""
    if recipe.image_size is None:
        return None
    height, width = sides_of(recipe.image_size)
    teacher = recipe.teacher_image_size or 0
    return max(height, teacher), max(width, teacher)


def sides_of(size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width of a size that is one number for both, or both."""
    if isinstance(size, int):
        return size, size
    height, width = size
    return height, width
