"""folder:PATH: any images in class folders, PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg."""

from __future__ import annotations

from foundation.errors import UsageError
from foundation.files import user_path
from pipeline.data import DATASETS, Dataset, load_sides
from pipeline.data.class_folders import load_class_folders
from pipeline.data.dataset_files import FILES, DatasetFiles
from pipeline.data.walking import dataset_folder
from pipeline.recipe.sections import DataRecipe


@DATASETS.register("folder")
def folder(argument: str, recipe: DataRecipe) -> Dataset:
    """folder:PATH reads PATH/train/CLASS/* and PATH/test/CLASS/*; class names are folder names."""
    if not argument:
        raise UsageError("dataset folder needs a path: folder:PATH")
    root = dataset_folder(user_path(argument), "images")
    return load_class_folders(root, recipe, load_sides(recipe))


@FILES.register("folder")
def files(argument: str) -> DatasetFiles:
    """The images of both splits."""
    return DatasetFiles(user_path(argument), ("train", "test"))
