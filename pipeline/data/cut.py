"""Cutting a set of images in two, class by class."""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import train_test_split

from foundation.errors import DataLayoutError
from pipeline.data.images import Ids, Labels
from pipeline.recipe import DataRecipe


def cut(labels: Labels, ids: Ids, fraction: float, recipe: DataRecipe) -> tuple[Ids, Ids]:
    """Numbers of the rest and of a part, both in rising order.

    Args:
        labels: class of every image, shape (N,).
        ids: numbers of the images to cut.
        fraction: share of the part; each class gives the same share.
        recipe: its `split_seed` decides which images.

    Raises:
        DataLayoutError: when there are too few images to cut.
    """
    try:
        rest, part = train_test_split(
            ids, test_size=fraction, random_state=recipe.split_seed, stratify=labels[ids]
        )
    except ValueError as error:
        raise DataLayoutError(
            f"dataset {recipe.name}: {len(ids)} images cannot be cut by {fraction} class by class "
            f"({error}); add images or change the fractions in [data]"
        ) from error
    return np.sort(rest), np.sort(part)
