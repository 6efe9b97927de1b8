"""arrays:PATH: inputs of a graph that is no classifier, which no student learns from."""

from __future__ import annotations

from foundation.errors import UsageError
from pipeline.data import DATASETS, Dataset
from pipeline.recipe.sections.data import DataRecipe


@DATASETS.register("arrays")
def arrays(argument: str, recipe: DataRecipe) -> Dataset:
    """arrays:PATH, an .npz of inputs or a folder of such, exports any ONNX graph; nothing learns"""
    del argument
    raise no_pictures(recipe)


def no_pictures(recipe: DataRecipe) -> UsageError:
    """What to tell where arrays are to be learned from."""
    return UsageError(
        f"data.name = {recipe.name!r} are inputs of any ONNX graph, and distillation is for "
        "classifiers of pictures; `compress export model.onnx --data ...` takes them, or give "
        "pictures, such as folder:PATH"
    )
