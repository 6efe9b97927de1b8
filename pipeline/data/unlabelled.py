"""Images in one folder, of which nobody says what they show: to calibrate on, to compare a
network's answers with another's, and to learn from what a teacher says of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from foundation.errors import DataLayoutError
from foundation.labels import UNLABELLED
from pipeline.data import Dataset
from pipeline.data.class_order import class_order
from pipeline.data.decoding import Split, dataset_of
from pipeline.data.kinds import shown
from pipeline.data.listing import Listing
from pipeline.data.passed_over import PassedOver
from pipeline.data.walking import image_files
from pipeline.recipe.sections.data import DataRecipe


def load_unlabelled(root: Path, recipe: DataRecipe, size: int | tuple[int, int] | None) -> Dataset:
    """The dataset of the images in a folder.

    Args:
        root: the folder.
        recipe: the data section; its classes are the dataset's, and there are none without. Where
            its `unlabelled` is set, folders within are gone through too.
        size: height and width of the images; None decides it by looking.

    Raises:
        DataLayoutError: when there is none.
        UnreadableImageError: when an image cannot be decoded, and is not to be passed over.
    """
    passed_over = PassedOver()
    names = image_files(root, passed_over, root.name)
    if not names:
        raise DataLayoutError(f"{shown(root)}: no images in it, nor in folders within; add some")
    split = Split(root, Listing(root, names), np.full(len(names), UNLABELLED, np.int64))
    classes = [] if recipe.classes is None else class_order(recipe.classes).classes
    dataset = dataset_of(None, split, classes, size, recipe)
    whose = "teacher's" if recipe.unlabelled else "original's"
    why = "are taken to" if recipe.unlabelled else "lie in no class folders and"
    remarks = [
        f"the {len(names)} images in {shown(root)} {why} have no labels: no accuracy is measured "
        f"on them, but how far answers agree with the {whose}",
        *passed_over.remarks(),
    ]
    return replace(dataset, remarks=(*remarks, *dataset.remarks))
