"""fashion-mnist: 70,000 grey pictures of clothes, 28×28, 10 classes."""

from __future__ import annotations

from pathlib import Path

from foundation.files import user_path
from pipeline.data import DATASETS, Dataset
from pipeline.data.dataset_files import FILES, DatasetFiles, is_anything
from pipeline.data.torchvision_sets import load_from_torchvision
from pipeline.recipe.sections.data import DataRecipe


@DATASETS.register("fashion-mnist")
def fashion_mnist(argument: str, _recipe: DataRecipe) -> Dataset:
    """Fashion-MNIST (Xiao et al. 2017): 10 classes, 28×28 grey; fetched to data/, or NAME:PATH."""
    from torchvision.datasets import FashionMNIST  # noqa: PLC0415 - seconds, only when it is loaded

    names = ", ".join(name for name, _ in FashionMNIST.resources)
    by_hand = f"put {names} from {FashionMNIST.mirrors[0]} into it by hand"
    files = Path("FashionMNIST/raw")
    return load_from_torchvision(FashionMNIST, argument, files, by_hand)


@FILES.register("fashion-mnist")
def files(argument: str) -> DatasetFiles:
    """What was published, unpacked."""
    root = user_path(argument or "data")
    return DatasetFiles(root, ("FashionMNIST/raw",), is_anything)
