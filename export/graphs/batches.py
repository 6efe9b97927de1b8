"""Models that take a fixed number of images at once, used like those that take any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from export.formats import Predictor


def batch_of(onnx_file: Path) -> int | None:
    """How many images an ONNX classifier takes at once; None where any number will do."""
    model = onnx.load(onnx_file, load_external_data=False)
    return fixed_batch(image_input(model))


def image_input(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    """A classifier's first real input: old files list their weights among the inputs too."""
    weights = {entry.name for entry in model.graph.initializer}
    return next(entry for entry in model.graph.input if entry.name not in weights)


def fixed_batch(value: onnx.ValueInfoProto) -> int | None:
    """The size of a value's first axis, or None where it is free."""
    size: int = value.type.tensor_type.shape.dim[0].dim_value
    return size or None


def in_batches_of(predict: Predictor, size: int | None) -> Predictor:
    """`predict`, for any number of images, though it takes only `size` of them at once."""
    if size is None:
        return predict

    def predict_any(images: NDArray[np.float32]) -> NDArray[np.float32]:
        lacking = -len(images) % size
        filled = np.concatenate([images, np.repeat(images[-1:], lacking, axis=0)])
        logits = [predict(filled[start : start + size]) for start in range(0, len(filled), size)]
        return np.concatenate(logits)[: len(images)]

    return predict_any
