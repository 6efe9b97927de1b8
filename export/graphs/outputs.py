"""A classifier's output: how it becomes logits (N, classes)."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from export.graphs.inspecting import sizes_of, type_words
from foundation.errors import ExportError

_ENDS = {
    "Softmax": "it answers with probabilities rather than logits",
    "LogSoftmax": "it answers with log-probabilities rather than logits",
    "Sigmoid": "it scores each class by itself, from 0 to 1",
}
_CUT = {"ArgMax", "TopK", "ArgMin"}
_OF_SCORES = ("Softmax", "Sigmoid")


def with_logits(model: onnx.ModelProto, source: Path) -> list[str]:
    """Make a model's one output logits (N, classes), as far as that changes none of them.

    Returns:
        What was done for that, or what it answers instead, a line each.

    Raises:
        ExportError: when it has other outputs.
    """
    outputs = list(model.graph.output)
    makers = [node for node in model.graph.node for entry in outputs if entry.name in node.output]
    if makers and makers[0].op_type in _CUT and all(node == makers[0] for node in makers):
        return [_cut_before(model, makers[0])]
    if len(outputs) != 1:
        listed = ", ".join(f"{entry.name!r} {type_words(entry)}" for entry in outputs) or "none"
        raise ExportError(
            f"{source}: has {len(outputs)} outputs ({listed}), but a classifier here has one, the "
            "logits; keep that one alone (onnx.utils.extract_model does it)"
        )
    (output,) = outputs
    maker = makers[0] if makers else None
    remarks = []
    sizes = sizes_of(output)
    if len(sizes) > 2 and all(size == 1 for size in sizes[2:]):
        _flatten(model, output)
        remarks.append(f"its output is {sizes}; the axes of one number are taken away")
    if maker is not None and maker.op_type in _ENDS:
        remarks.append(f"it ends in {maker.op_type}: {_ENDS[maker.op_type]}")
    return remarks


def without_final_activation(model: onnx.ModelProto) -> str | None:
    """Take what an activation at the end of a classifier reads for its output: the logits.

    Args:
        model: with one output; changed in place.

    Returns:
        The activation; None where the model ends in none that makes probabilities.
    """
    (output,) = model.graph.output
    maker = next((node for node in model.graph.node if output.name in node.output), None)
    if maker is None or maker.op_type not in _OF_SCORES:
        return None
    _cut_before(model, maker)
    return str(maker.op_type)


def _cut_before(model: onnx.ModelProto, maker: onnx.NodeProto) -> str:
    """Take what the last operator reads for the output."""
    scores = maker.input[0]
    model.graph.node.remove(maker)
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {entry.name: entry for entry in inferred.graph.value_info}
    unknown = helper.make_tensor_value_info(scores, TensorProto.FLOAT, ["N", "C"])
    del model.graph.output[:]
    model.graph.output.append(shapes.get(scores, unknown))
    return f"it ends in {maker.op_type}, a class's number; the scores before it are taken"


def _flatten(model: onnx.ModelProto, output: onnx.ValueInfoProto) -> None:
    name, whole = output.name, f"{output.name}_with_axes"
    for node in model.graph.node:
        for names in (node.input, node.output):
            for position, tensor in enumerate(names):
                if tensor == name:
                    names[position] = whole
    model.graph.node.append(helper.make_node("Flatten", [whole], [name], f"{name}_Flatten", axis=1))
    del output.type.tensor_type.shape.dim[2:]
