"""Features within an ONNX graph: the tensors between its layers that another network can learn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx
from onnx import TensorProto

from export.graphs.inspecting import sizes_of

_MAKE_MAPS = {
    "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "InstanceNormalization", "LRN",
    "MaxPool", "Resize", "Upsample",
}  # fmt: skip
_KEEP_MAPS = {
    "Add", "Cast", "Celu", "Clip", "Div", "Dropout", "Elu", "Gelu", "HardSigmoid", "HardSwish",
    "Identity", "LeakyRelu", "Mish", "Mul", "PRelu", "Relu", "Selu", "Sigmoid", "Softplus", "Sub",
    "Tanh",
}  # fmt: skip


def last_of_each_resolution(model: onnx.ModelProto) -> list[str]:
    """The last feature map (N, C, H, W) of each resolution, by name, from input to output.

    Only tensors count whose channels are known to come first: what operators of images make, and
    what is computed from that number by number.

    Args:
        model: with an image input of fixed height and width; left as it is.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {value.name: sizes_of(value) for value in inferred.graph.value_info}
    maps: set[str] = set()
    last: dict[tuple[int, int], str] = {}
    for node in model.graph.node:
        if node.op_type in _MAKE_MAPS or (
            node.op_type in _KEEP_MAPS and any(name in maps for name in node.input)
        ):
            name = node.output[0]
            sides = _sides(shapes.get(name, []))
            if sides is not None:
                maps.add(name)
                last.pop(sides, None)
                last[sides] = name
    return list(last.values())


def _sides(sizes: Sequence[int | str]) -> tuple[int, int] | None:
    """Height and width of a feature map; None of what is none, or is a number a channel."""
    if len(sizes) != 4:
        return None
    _, _, height, width = sizes
    if not isinstance(height, int) or not isinstance(width, int):
        return None
    return (height, width) if height * width > 1 else None


def computed_tensors(model: onnx.ModelProto) -> list[str]:
    """Names of all that a graph computes on its way, its own outputs apart, in order."""
    outputs = {value.name for value in model.graph.output}
    names = (name for node in model.graph.node for name in node.output)
    return [name for name in names if name and name not in outputs]


def with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """A copy of a model that answers some of its tensors too, behind its own outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for name in names:
        copy.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return copy
