"""A graph that takes a fixed number of images at once, made to take any, where that can be."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from export.graphs.batches import fixed_batch, image_input, in_batches_of
from export.graphs.inspecting import sizes_of
from export.graphs.running import session_predictor
from foundation.bundle import BATCH_AXIS
from foundation.errors import ExportError


def with_free_batch(model: onnx.ModelProto, source: Path) -> onnx.ModelProto:
    """The model for any batch size, shown by running it; as it is if it takes one image alone.

    Raises:
        ExportError: when it takes another fixed number.
    """
    original, size = model.SerializeToString(), fixed_batch(image_input(model))
    images = _random_images(model, 3)
    expected = in_batches_of(session_predictor(original), size or 1)(images)
    for candidate in _with_batch_freed(model):
        try:
            actual = session_predictor(candidate.SerializeToString())(images)
        except Exception:  # ONNX Runtime has a dozen kinds, and each means: not this way
            continue
        if actual.shape == expected.shape and np.abs(actual - expected).max() <= 1e-4 * (
            np.abs(expected).max()
        ):
            return candidate
    if size not in (None, 1):
        raise ExportError(
            f"{source}: takes {size} images at once, no fewer; export it with a free batch size"
        )
    _name_batch(model, 1)
    return model


def _random_images(model: onnx.ModelProto, count: int) -> NDArray[np.float32]:
    shape = sizes_of(image_input(model))[1:]
    return np.random.default_rng(0).standard_normal((count, *map(int, shape)), np.float32)


def _with_batch_freed(model: onnx.ModelProto) -> Iterator[onnx.ModelProto]:
    """The model with a free batch; then also without reshapes to a fixed one."""
    freed = copy.deepcopy(model)
    _name_batch(freed, None)
    yield freed
    _free_reshapes(freed, fixed_batch(image_input(model)) or 1)
    yield freed


def _name_batch(model: onnx.ModelProto, size: int | None) -> None:
    for value in (image_input(model), model.graph.output[0]):
        batch = value.type.tensor_type.shape.dim[0]
        if size is None:
            batch.dim_param = BATCH_AXIS
        else:
            batch.dim_value = size
    del model.graph.value_info[:]


def _free_reshapes(model: onnx.ModelProto, size: int) -> None:
    """Reshapes of computed values to (size, ...) keep the batch that comes in."""
    constants = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    for number, node in enumerate(model.graph.node):
        shape = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is None or node.input[0] in constants or not len(shape) or shape[0] != size:
            continue
        # One size may be left to be worked out; if another is, this one is copied.
        free = np.array([0 if -1 in shape else -1, *shape[1:]], np.int64)
        name = f"{node.input[1]}_free_{number}"
        model.graph.initializer.append(numpy_helper.from_array(free, name))
        node.input[1] = name
