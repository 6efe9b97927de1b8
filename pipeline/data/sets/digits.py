"""digits: 1,797 handwritten digits, 8×8 grey, carried by scikit-learn; no network needed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from foundation.errors import UsageError
from pipeline.data import DATASETS, Dataset, load_size
from pipeline.data.cut import TEST, cut
from pipeline.data.dataset_files import FILES, DatasetFiles
from pipeline.data.images import ArrayImages, Images
from pipeline.recipe.sections.data import DataRecipe

_SIZE = 32


@DATASETS.register("digits")
def digits(argument: str, recipe: DataRecipe) -> Dataset:
    """UCI handwritten digits (Alpaydin and Kaynak 1998): built in, 10 classes, 8×8 upscaled."""
    if argument:
        raise UsageError(f"dataset digits takes nothing behind a colon, but got {argument!r}")
    from sklearn.datasets import load_digits  # noqa: PLC0415 - a second, only to read it

    bunch = load_digits()
    size = load_size(recipe) or _SIZE
    images = np.stack([_upscaled(image, size) for image in bunch.images])
    labels = bunch.target.astype(np.int64)
    classes = [str(name) for name in bunch.target_names]
    train, test = cut(labels, np.arange(len(labels)), TEST, recipe, classes)
    return Dataset(
        ArrayImages(images[train], labels[train]),
        ArrayImages(images[test], labels[test]),
        classes,
    )


def _upscaled(image: np.ndarray, size: int) -> Images:
    grey = Image.fromarray(np.round(image * (255 / 16)).astype(np.uint8))
    return np.asarray(grey.resize((size, size), Image.Resampling.BICUBIC))[..., None]


@FILES.register("digits")
def files(_argument: str) -> DatasetFiles:
    """The one file that scikit-learn carries."""
    package = find_spec("sklearn")  # it is not imported to be asked where it lies
    folder = Path(package.origin).parent if package and package.origin else Path()
    return DatasetFiles(folder / "datasets/data", ("digits.csv.gz",))
