"""loader:package.module:function: the same as arrays:PATH, by code of the user's."""

from __future__ import annotations

from pipeline.data import DATASETS, Dataset
from pipeline.data.sets.arrays import no_pictures
from pipeline.recipe.sections.data import DataRecipe


@DATASETS.register("loader")
def loader(argument: str, recipe: DataRecipe) -> Dataset:
    """loader:package.module:function yields such inputs one by one, for export; nothing learns"""
    del argument
    raise no_pictures(recipe)
