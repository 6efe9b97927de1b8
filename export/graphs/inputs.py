"""A classifier's image input: what it is, and how it becomes float32 images (N, C, H, W)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from export.graphs.inspecting import (
    graphs_within,
    nodes_within,
    real_inputs,
    rename_reads,
    sizes_of,
    tensors_read,
    type_words,
)
from foundation.errors import ExportError

_CHANNELS = (1, 3, 4)
_TO_NHWC, _TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]
_WHOLE = (TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32,
          TensorProto.INT64, TensorProto.UINT32)  # fmt: skip


@dataclass(frozen=True)
class ImageInput:
    """What a graph's image input is, as its file tells; None where it tells nothing.

    Attributes:
        height, width, channels: sizes.
        is_last: the channels come last (N, H, W, C).
        takes_pixels: it takes whole numbers, so the pixels themselves.
    """

    height: int | None
    width: int | None
    channels: int | None
    is_last: bool
    takes_pixels: bool


def image_input_of(path: Path) -> ImageInput | None:
    """The image input of an ONNX file; None where there is not one such, or no such file."""
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # what is wrong with it is told where it is adopted
        return None
    inputs = real_inputs(model)
    if len(inputs) != 1 or len(sizes_of(inputs[0])) != 4:
        return None
    return _described(model, inputs[0])


def with_float_images(model: onnx.ModelProto, source: Path) -> list[str]:
    """Make a model's one input float32 images (N, C, H, W).

    Returns:
        What was done for that, a line each.

    Raises:
        ExportError: when it has other inputs, or one that no images are.
    """
    weights = {entry.name for entry in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in weights]
    if len(inputs) != 1:
        listed = ", ".join(f"{entry.name!r} {type_words(entry)}" for entry in inputs) or "none"
        raise ExportError(
            f"{source}: has {len(inputs)} inputs ({listed}), but a classifier here has one, the "
            "image; export it with that one alone, or make the others constants"
        )
    (value,) = inputs
    if len(sizes_of(value)) != 4:
        raise ExportError(
            f"{source}: its input {value.name!r} is {type_words(value)}, but must be images "
            "(N, C, H, W) or (N, H, W, C); export it with a batch axis and with channels"
        )
    image = _described(model, value)
    remarks = []
    if image.takes_pixels:
        remarks.append(_with_pixels_as_floats(model, value))
    elif value.type.tensor_type.elem_type != TensorProto.FLOAT:
        raise ExportError(
            f"{source}: its input {value.name!r} is {type_words(value)}; how a picture becomes "
            "that is nowhere told: export it with float32 or uint8 images"
        )
    if image.is_last:
        _channels_first(model, value)
        remarks.append(
            f"its input {value.name!r} is (N, H, W, C); a transpose before it makes it (N, C, H, W)"
        )
    return remarks


def _described(model: onnx.ModelProto, value: onnx.ValueInfoProto) -> ImageInput:
    _, *rest = sizes_of(value)
    numbers = [size if isinstance(size, int) else None for size in rest]
    first, last = numbers[0] in _CHANNELS, numbers[2] in _CHANNELS
    is_last = last and not first
    if not last and numbers[0] is None and numbers[2] is None:
        is_last = bool(_transposed_at_once(model, value.name))
    height, width, channels = numbers if is_last else (numbers[1], numbers[2], numbers[0])
    takes_pixels = value.type.tensor_type.elem_type in _WHOLE
    return ImageInput(height, width, channels, is_last, takes_pixels)


def _transposed_at_once(model: onnx.ModelProto, name: str) -> list[onnx.NodeProto]:
    """The transposes to (N, C, H, W) that read a value, if nothing else does."""
    readers = [node for node in model.graph.node if name in node.input]
    transposes = [
        node
        for node in readers
        if node.op_type == "Transpose"
        and [list(entry.ints) for entry in node.attribute if entry.name == "perm"] == [_TO_NCHW]
    ]
    return transposes if len(transposes) == len(readers) else []


def _with_pixels_as_floats(model: onnx.ModelProto, value: onnx.ValueInfoProto) -> str:
    """Its input becomes floats that hold the whole numbers, cast within the graph."""
    kind, name = value.type.tensor_type.elem_type, value.name
    type_name = TensorProto.DataType.Name(kind)
    whole = f"{name}_{type_name.lower()}"
    rename_reads(nodes_within(model.graph), name, whole)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(
        [
            # Floats come from a division, and a cast cuts off what is behind the point.
            helper.make_node("Round", [name], [f"{whole}_rounded"], f"{whole}_Round"),
            helper.make_node("Cast", [f"{whole}_rounded"], [whole], f"{whole}_Cast", to=kind),
            *nodes,
        ]
    )
    value.type.tensor_type.elem_type = TensorProto.FLOAT
    _without_needless_casts(model, name, whole)
    return (
        f"its input {name!r} is {type_name}: it takes the pixels themselves, 0 to 255, and "
        "whatever normalises them is inside it"
    )


def _without_needless_casts(model: onnx.ModelProto, name: str, whole: str) -> None:
    """Where the whole numbers are only moved and made floats again, they stay floats."""
    moves = {"Transpose", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
    tensors, casts = {whole}, []
    for node in model.graph.node:
        if not tensors & set(node.input[:1]):
            if tensors & set(node.input):
                return
            continue
        is_float = any(a.name == "to" and a.i == TensorProto.FLOAT for a in node.attribute)
        if node.op_type == "Cast" and is_float:
            casts.append(node)
        elif node.op_type in moves:
            tensors.add(node.output[0])
        else:
            return
    if any(
        tensors & set(tensors_read(g)) for g in graphs_within(model.graph) if g is not model.graph
    ):
        return
    for node in casts:
        node.op_type = "Identity"
        del node.attribute[:]
    round_and_cast = list(model.graph.node)[:2]
    for node in round_and_cast:
        model.graph.node.remove(node)
    rename_reads(model.graph.node, whole, name)
    del model.graph.value_info[:]


def _channels_first(model: onnx.ModelProto, value: onnx.ValueInfoProto) -> None:
    name = value.name
    batch, height, width, channels = list(value.type.tensor_type.shape.dim)
    dims = [onnx.TensorShapeProto.Dimension() for _ in range(4)]
    for dim, original in zip(dims, (batch, channels, height, width), strict=True):
        dim.CopyFrom(original)
    del value.type.tensor_type.shape.dim[:]
    value.type.tensor_type.shape.dim.extend(dims)
    transposes = _transposed_at_once(model, name)
    for node in transposes:
        node.op_type = "Identity"
        del node.attribute[:]
    if transposes:
        return
    last = f"{name}_channels_last"
    rename_reads(nodes_within(model.graph), name, last)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    transpose = helper.make_node("Transpose", [name], [last], f"{last}_Transpose", perm=_TO_NHWC)
    model.graph.node.extend([transpose, *nodes])
    del model.graph.value_info[:]
