"""imagenet: ILSVRC 2012, 1,000 classes, fetched by hand."""

from __future__ import annotations

from foundation.errors import MissingFileError
from foundation.files import user_path
from pipeline.data import DATASETS, Dataset, load_sides
from pipeline.data.class_folders import load_class_folders
from pipeline.data.dataset_files import FILES, DatasetFiles
from pipeline.data.fitting import USUAL
from pipeline.data.layouts import Layout
from pipeline.recipe.sections.data import DataRecipe


@DATASETS.register("imagenet")
def imagenet(argument: str, recipe: DataRecipe) -> Dataset:
    """ImageNet (ILSVRC 2012): 1,000 classes of photos; imagenet:PATH reads PATH/train and PATH/val.

    Without a path they are read from data/imagenet. The test images are those of val, for the
    labels of ImageNet's own test images are not public.
    """
    root = user_path(argument or "data/imagenet")
    if not (root / "val").is_dir():
        raise MissingFileError(
            f"{root / 'val'}: no such folder; get ILSVRC2012_img_train.tar and "
            "ILSVRC2012_img_val.tar from https://image-net.org (they need an account) and "
            f"unpack them to {root}/train/nXXXXXXXX/*.JPEG and {root}/val/nXXXXXXXX/*.JPEG; a "
            "network from elsewhere needs val alone"
        )
    train = "train" if (root / "train").is_dir() else None
    return load_class_folders(root, recipe, load_sides(recipe), Layout(train, None, "val"))


USUAL.register("imagenet")("imagenet")


@FILES.register("imagenet")
def files(argument: str) -> DatasetFiles:
    """The images of both splits."""
    return DatasetFiles(user_path(argument or "data/imagenet"), ("train", "val"))
