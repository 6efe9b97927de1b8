"""folder:PATH: images as they lie in folders: in splits, in class folders alone, or unlabelled."""

from __future__ import annotations

from foundation.errors import CompressError, UsageError
from foundation.files import user_path
from pipeline.data import DATASETS, Dataset, load_sides
from pipeline.data.class_folders import load_class_folders
from pipeline.data.dataset_files import FILES, DatasetFiles
from pipeline.data.layouts import layout_of
from pipeline.data.unlabelled import load_unlabelled
from pipeline.data.walking import dataset_folder
from pipeline.recipe.sections.data import DataRecipe


@DATASETS.register("folder")
def folder(argument: str, recipe: DataRecipe) -> Dataset:
    """folder:PATH reads PATH/train|val|test/CLASS/*, PATH/CLASS/*, or PATH/* without labels.

    With data.unlabelled it takes all images in PATH, and in folders within, as without labels.
    """
    if not argument:
        raise UsageError("dataset folder needs a path: folder:PATH")
    root = dataset_folder(user_path(argument), "images")
    if recipe.unlabelled:
        return load_unlabelled(root, recipe, load_sides(recipe))
    layout = layout_of(root)
    if layout.is_flat:
        return load_unlabelled(root, recipe, load_sides(recipe))
    return load_class_folders(root, recipe, load_sides(recipe), layout)


@FILES.register("folder")
def files(argument: str) -> DatasetFiles:
    """The images of all splits."""
    root = user_path(argument)
    try:
        return DatasetFiles(root, layout_of(root).folders or ("",))
    except CompressError:  # who reads the images says so
        return DatasetFiles(root, ("train", "test"))
