"""Images in one folder, of which nobody says what they show: to calibrate on, and to compare a
network's answers with another's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.data import Dataset
from pipeline.data.class_order import class_order
from pipeline.data.decoding import Split, dataset_of
from pipeline.data.images import UNLABELLED
from pipeline.data.kinds import shown
from pipeline.data.listing import Listing
from pipeline.data.passed_over import PassedOver
from pipeline.data.walking import image_files
from pipeline.recipe.sections import DataRecipe


def load_unlabelled(root: Path, recipe: DataRecipe, size: int | tuple[int, int] | None) -> Dataset:
    """The dataset of the images in a folder.

    Args:
        root: the folder.
        recipe: the data section; its classes are the dataset's, and there are none without.
        size: height and width of the images; None decides it by looking.

    Raises:
        UnreadableImageError: when an image cannot be decoded, and is not to be passed over.
    """
    passed_over = PassedOver()
    names = image_files(root, passed_over, root.name)
    split = Split(root, Listing(root, names), np.full(len(names), UNLABELLED, np.int64))
    classes = [] if recipe.classes is None else class_order(recipe.classes).classes
    dataset = dataset_of(None, split, classes, size, recipe)
    remarks = [
        f"the {len(names)} images in {shown(root)} lie in no class folders and have no labels: no "
        "accuracy is measured on them, but how far answers agree with the original's",
        *passed_over.remarks(),
    ]
    return replace(dataset, remarks=(*remarks, *dataset.remarks))
