"""An ONNX file whose answers no change of form can make those of an FP32 classifier is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from export.graphs.inspecting import constant_value, graphs_within, nodes_within
from foundation.errors import ExportError

_QUANTISED = {
    "dynamically (its ranges are found at run time)": {
        "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul",
        "DynamicQuantizeLSTM", "MatMulIntegerToFloat",
    },
    "in the QOperator form (QLinearConv and the like)": {
        "QLinearConv", "QLinearMatMul", "QGemm", "QLinearAdd", "QAttention", "QLinearMul",
        "QLinearGlobalAveragePool", "QLinearAveragePool",
    },
    "in its weights alone": {"MatMulNBits", "GatherBlockQuantized"},
    "in the QDQ form (QuantizeLinear and DequantizeLinear)": {"QuantizeLinear"},
    "in its weights alone (DequantizeLinear)": {"DequantizeLinear"},
}  # fmt: skip
_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial",
           "Bernoulli"}  # fmt: skip


def check_answers_as_trained(model: onnx.ModelProto, source: Path) -> None:
    """Make sure that a model is in evaluation mode, in floating point and without chance.

    Raises:
        ExportError: when it is quantised, random or in training mode.
    """
    operators = {node.op_type for node in nodes_within(model.graph)}
    for form, quantised_operators in _QUANTISED.items():
        if quantised := sorted(quantised_operators & operators):
            raise ExportError(
                f"{source}: is quantised already, {form}: it has {', '.join(quantised)}; give the "
                "FP32 model that it was made of"
            )
    if random := sorted(_RANDOM & operators):
        raise ExportError(
            f"{source}: draws random numbers ({', '.join(random)}), so it does not answer the same "
            "twice; export it in evaluation mode (model.eval()), without noise"
        )
    training = sorted(
        {node.op_type for node in nodes_within(model.graph) if _is_in_training(node, model)}
    )
    if training:
        raise ExportError(
            f"{source}: was exported in training mode ({', '.join(training)}); call model.eval() "
            "and export it again"
        )


def _is_in_training(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    attributes = {entry.name: entry for entry in node.attribute}
    if node.op_type == "BatchNormalization":
        flag = attributes.get("training_mode")
        return bool(flag and flag.i) or sum(bool(name) for name in node.output) > 1
    if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
        value = constant_value(model, node.input[2])
        return value is None or bool(value.any())
    return False


def check_weights(model: onnx.ModelProto, source: Path) -> None:
    """Make sure that every FP32 weight is a number.

    Raises:
        ExportError: when some are NaN.
    """
    for graph in graphs_within(model.graph):
        for entry in graph.initializer:
            if entry.data_type != TensorProto.FLOAT:
                continue
            value = numpy_helper.to_array(entry)
            # Infinity may be meant: masks hold it.
            if nan_count := int(np.isnan(value).sum()):
                raise ExportError(
                    f"{source}: {nan_count} of the {value.size} numbers in {entry.name!r} are not "
                    "a number (NaN); train or export it again"
                )
