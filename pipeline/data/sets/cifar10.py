"""cifar10: 60,000 colour photos, 32×32, 10 classes."""

from __future__ import annotations

from pathlib import Path

from foundation.files import user_path
from pipeline.data import DATASETS, Dataset
from pipeline.data.dataset_files import FILES, DatasetFiles, is_anything
from pipeline.data.torchvision_sets import load_from_torchvision
from pipeline.recipe.sections.data import DataRecipe


@DATASETS.register("cifar10")
def cifar10(argument: str, _recipe: DataRecipe) -> Dataset:
    """CIFAR-10 (Krizhevsky 2009): 10 classes of 32×32 photos; fetched to data/, or NAME:PATH."""
    from torchvision.datasets import CIFAR10  # noqa: PLC0415 - seconds, only when it is loaded

    by_hand = f"put {CIFAR10.filename} from {CIFAR10.url} beside it by hand"
    return load_from_torchvision(CIFAR10, argument, Path(CIFAR10.base_folder), by_hand)


@FILES.register("cifar10")
def files(argument: str) -> DatasetFiles:
    """What was published, unpacked."""
    root = user_path(argument or "data")
    return DatasetFiles(root, ("cifar-10-batches-py",), is_anything)
