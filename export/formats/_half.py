"""ONNX with its weights stored as float16: half the bytes, FP32 arithmetic.

ONNX Runtime's CPU provider has few float16 kernels. Each weight therefore stands behind a Cast
to FP32, which the runtime folds away when it opens the file: it then runs as the FP32 file does.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

_SMALLEST = 16  # a scalar gains nothing, and epsilons would become zero
_LARGEST = float(np.finfo(np.float16).max)


def with_half_weights(model: onnx.ModelProto) -> int:
    """Store the FP32 weights of `model` as float16; tensors keep their names.

    A weight that float16 cannot hold stays as it is.

    Returns:
        How many were stored so.
    """
    casts = []
    for entry in model.graph.initializer:
        if entry.data_type != onnx.TensorProto.FLOAT:
            continue
        value = numpy_helper.to_array(entry)
        if value.size < _SMALLEST or not (np.abs(value) <= _LARGEST).all():
            continue
        name, half = entry.name, f"{entry.name}_float16"
        entry.CopyFrom(numpy_helper.from_array(value.astype(np.float16), half))
        casts.append(
            helper.make_node("Cast", [half], [name], f"{name}_Cast", to=onnx.TensorProto.FLOAT)
        )
    nodes = casts + list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return len(casts)
