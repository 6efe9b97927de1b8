"""FP16, BF16 and double numbers of an ONNX file become FP32."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from export.graphs.inspecting import graphs_within, nodes_within
from foundation.errors import ExportError

_OTHER_FLOATS = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def widened_to_fp32(model: onnx.ModelProto, source: Path) -> Iterator[str]:
    """Make FP16, BF16 and double weights, and what is computed in them, FP32.

    Raises:
        ExportError: when a weight does not fit FP32.
    """
    kinds: Counter[int] = Counter()
    for graph in graphs_within(model.graph):
        for entry in graph.initializer:
            kinds[_widen(entry, source)] += 1
        for value in (*graph.input, *graph.output):
            _widen_type(value, kinds)
    for node in nodes_within(model.graph):
        for attribute in node.attribute:
            for tensor in (attribute.t, *attribute.tensors):
                if tensor.data_type:
                    kinds[_widen(tensor, source)] += 1
            if attribute.name in {"to", "dtype"} and attribute.i in _OTHER_FLOATS:
                kinds[attribute.i] += 0
                attribute.i = TensorProto.FLOAT
    names = sorted(TensorProto.DataType.Name(kind) for kind in kinds if kind)
    if names:
        for graph in graphs_within(model.graph):
            del graph.value_info[:]
        yield f"it is {' and '.join(names)}; weights and arithmetic were brought to FP32"


def _widen(tensor: TensorProto, source: Path) -> int:
    """Make a tensor FP32 if it is of another floating type, which is returned; else 0."""
    kind = int(tensor.data_type)
    if kind not in _OTHER_FLOATS:
        return 0
    name, value = tensor.name, numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):
        widened = value.astype(np.float32)
    if not np.isfinite(widened[np.isfinite(value.astype(np.float64))]).all():
        raise ExportError(f"{source}: weights {name!r} do not fit FP32; train it in FP32")
    tensor.CopyFrom(numpy_helper.from_array(widened, name))
    return kind


def _widen_type(value: onnx.ValueInfoProto, kinds: Counter[int]) -> None:
    kind = value.type.tensor_type.elem_type
    if kind in _OTHER_FLOATS:
        kinds[kind] += 1
        value.type.tensor_type.elem_type = TensorProto.FLOAT
