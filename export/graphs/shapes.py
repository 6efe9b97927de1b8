"""A graph's inputs in the fixed shapes that its bundles take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from onnx import TensorProto

from export.graphs.inspecting import real_inputs, sizes_of, type_words
from foundation.bundle import TensorSpec
from foundation.errors import ExportError, unknown_name
from foundation.manifest import DTYPES, LONGEST_NAME

_DTYPE_OF = {TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64"} | {
    kind: TensorProto.DataType.Name(kind).lower()
    for kind in (
        TensorProto.FLOAT16, TensorProto.BOOL, TensorProto.INT8, TensorProto.INT16,
        TensorProto.INT32, TensorProto.INT64, TensorProto.UINT8, TensorProto.UINT16,
        TensorProto.UINT32, TensorProto.UINT64,
    )
}  # fmt: skip

Shapes = Mapping[str, Sequence[int]]


def fix_inputs(model: onnx.ModelProto, source: Path, shapes: Shapes) -> list[str]:
    """Give every input of a model a fixed shape: one sample a query.

    Args:
        model: changed in place.
        source: its file, for messages.
        shapes: sizes that the user said, by input.

    Returns:
        What was taken for a free size that nobody said, a line each.

    Raises:
        UnknownNameError: when a shape is said of an input that there is none of.
        ExportError: when a size is free that nobody said, a said one is another than the graph's,
            or an input is no array.
    """
    inputs = {value.name: value for value in real_inputs(model)}
    if not inputs:
        raise ExportError(f"{source}: has no inputs, so there is nothing to ask it")
    for name in shapes:
        if name not in inputs:
            raise unknown_name("input", name, inputs, f"{source}, --input-shape")
    remarks = []
    for value in inputs.values():
        remarks += _fix(value, source, shapes.get(value.name))
    for name in ("value_info", "input"):
        del getattr(model.graph, name)[:]
    model.graph.input.extend(inputs.values())
    return remarks


def input_specs(model: onnx.ModelProto) -> list[TensorSpec]:
    """The inputs of a model whose shapes are fixed."""
    return [
        TensorSpec(value.name, dtype_of(value), "", sizes_of(value)) for value in real_inputs(model)
    ]


def dtype_of(value: onnx.ValueInfoProto) -> str:
    """The type of a value's numbers as numpy calls it; "" where it has none here."""
    return str(_DTYPE_OF.get(value.type.tensor_type.elem_type, ""))


def check_is_array(value: onnx.ValueInfoProto, source: Path, which: str) -> None:
    """Make sure that a value is an array of numbers.

    Raises:
        ExportError: when it is a sequence, text or the like.
    """
    if value.type.WhichOneof("value") != "tensor_type" or dtype_of(value) not in DTYPES:
        raise ExportError(
            f"{source}: its {which} {value.name!r} is {type_words(value)}; runtimes here take and "
            "give arrays of numbers: export it without"
        )
    if not value.name.isprintable() or len(value.name) > LONGEST_NAME:
        raise ExportError(
            f"{source}: its {which} {value.name[:40]!r} has a name that no record could hold; "
            "rename it"
        )


def _fix(value: onnx.ValueInfoProto, source: Path, said: Sequence[int] | None) -> list[str]:
    check_is_array(value, source, "input")
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        if said is None:
            raise ExportError(
                f"{source}: does not say the shape of its input {value.name!r}; say it with "
                f"--input-shape {value.name}=1,3,320,320 or the like"
            )
        tensor.shape.SetInParent()
        for _ in said:
            tensor.shape.dim.add()
    sizes = sizes_of(value)
    if said is None:
        said = [1 if at == 0 and isinstance(size, str) else size for at, size in enumerate(sizes)]  # type: ignore[misc]
    fits = len(said) == len(sizes) and all(
        isinstance(size, str) or size == wanted for size, wanted in zip(sizes, said, strict=True)
    )
    if not fits:
        raise ExportError(
            f"{source}: its input {value.name!r} is {type_words(value)}, which "
            f"{','.join(map(str, said))} does not fit; say another shape with --input-shape"
        )
    if any(isinstance(size, str) for size in said):
        example = ",".join(str(size) if isinstance(size, int) else "320" for size in said)
        raise ExportError(
            f"{source}: its input {value.name!r} is {type_words(value)}, with sizes that are free, "
            f"but a bundle's are fixed; say them, such as --input-shape {value.name}={example}"
        )
    remarks = []
    if isinstance(next(iter(sizes), 0), str) and said[0] == 1:
        remarks.append(f"its input {value.name!r} takes one sample a query: {list(said)}")
    for axis, size in zip(tensor.shape.dim, said, strict=True):
        axis.dim_value = size
    return remarks
