"""ONNX in float16: a classifier's arithmetic and weights, or of any other graph the weights alone.

ONNX Runtime's CPU provider has float16 kernels for cores with half-precision arithmetic (`asimdhp`
of Armv8.2-A). Elsewhere it puts a Cast before and behind what it lacks, drops those that cancel
each other, and computes in FP32 from the same file.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

_SMALLEST = 16  # a scalar gains nothing, and epsilons would become zero
_LARGEST = float(np.finfo(np.float16).max)
# ONNX Runtime 1.32.0 turns these to channels-last where it has float16 arithmetic, and then has no
# kernel for the AveragePool of operator set 19: the model would not load there.
_FAILING = {"AveragePool", "GlobalAveragePool"}
# What must stay in a graph that `with_roundings` has been at.
ROUNDS = "EliminateIdentity"


def with_half_arithmetic(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with weights and arithmetic in float16; inputs and outputs stay FP32.

    An operator with a weight that float16 cannot hold stays in FP32, with that weight, and so do
    average pools.

    Args:
        model: FP32; it is changed, and not to be used any more.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415 - heavy
    from onnxruntime.transformers.onnx_model import OnnxModel  # noqa: PLC0415

    too_large = {
        entry.name
        for entry in model.graph.initializer
        if entry.data_type == onnx.TensorProto.FLOAT and not _fits(numpy_helper.to_array(entry))
    }
    kept = [
        node.name
        for node in model.graph.node
        if too_large & set(node.input) or node.op_type in _FAILING
    ]
    half = OnnxModel(
        convert_float_to_float16(model, keep_io_types=True, node_block_list=kept or None)
    )
    # The converter appends its Casts, whoever reads them.
    half.topological_sort(is_deterministic=True)
    return half.model


def with_half_weights(model: onnx.ModelProto) -> None:
    """Store the FP32 weights of `model` as float16, each behind a Cast; tensors keep their names.

    ONNX Runtime folds the Casts away when it opens the file: it then runs as the FP32 file does.
    A weight that float16 cannot hold stays as it is.
    """
    casts = []
    for entry in model.graph.initializer:
        if entry.data_type != onnx.TensorProto.FLOAT:
            continue
        value = numpy_helper.to_array(entry)
        if value.size < _SMALLEST or not _fits(value):
            continue
        name, half = entry.name, f"{entry.name}_float16"
        entry.CopyFrom(numpy_helper.from_array(value.astype(np.float16), half))
        casts.append(
            helper.make_node("Cast", [half], [name], f"{name}_Cast", to=onnx.TensorProto.FLOAT)
        )
    nodes = casts + list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def half_weights(model: onnx.ModelProto) -> int:
    """How many of a model's weights are stored as float16."""
    return sum(entry.data_type == onnx.TensorProto.FLOAT16 for entry in model.graph.initializer)


def with_roundings(model: onnx.ModelProto) -> None:
    """Have every tensor of a float16 graph rounded to float16, on any processor.

    Where ONNX Runtime computes such a graph in FP32 it drops the Casts between two operators, and
    with them all that a core with float16 arithmetic would lose, an overflow among it. Between two
    Casts with two Identities there is none to drop, as long as the optimiser `ROUNDS` is off; a
    single one would be computed in FP32 too.
    """
    outputs = {entry.name for entry in model.graph.output}
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        for place, name in enumerate(node.output):
            if name and name not in outputs:
                exact, rounded = f"{name}_exact", f"{name}_rounded"
                node.output[place] = exact
                nodes.append(helper.make_node("Identity", [exact], [rounded]))
                nodes.append(helper.make_node("Identity", [rounded], [name]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _fits(value: np.ndarray) -> bool:
    """Whether float16 holds all numbers of a weight."""
    return bool((np.abs(value) <= _LARGEST).all())
