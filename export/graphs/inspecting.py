"""What an ONNX graph holds: its nodes, the graphs within it, what is read, and types in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import onnx
from onnx import TensorProto, numpy_helper


def nodes_within(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of all graphs within it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes_within(inner)


def graphs_within(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all graphs within it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from graphs_within(inner)


def tensors_read(graph: onnx.GraphProto) -> Iterator[str]:
    """Names of the tensors that nodes of a graph, or of one within it, read, or that it answers."""
    for inner in graphs_within(graph):
        for node in inner.node:
            yield from node.input
        yield from (output.name for output in inner.output)


def real_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """A graph's inputs that must be fed: not its weights, and none that nothing reads."""
    weights = {entry.name for entry in model.graph.initializer}
    read = set(tensors_read(model.graph))
    return [
        entry for entry in model.graph.input if entry.name not in weights and entry.name in read
    ]


def sizes_of(value: onnx.ValueInfoProto) -> list[int | str]:
    """Sizes of a value's axes: numbers, or names where they are free."""
    return [dim.dim_value or dim.dim_param or "?" for dim in value.type.tensor_type.shape.dim]


def type_words(value: onnx.ValueInfoProto) -> str:
    """A value's type in words: "FLOAT ['N', 3, 8, 8]", or "a sequence"."""
    kind = value.type.WhichOneof("value") or "of no type"
    if kind != "tensor_type":
        return f"a {kind.removesuffix('_type')}"
    name = TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    return f"{name} {sizes_of(value)}"


def rename_reads(nodes: Iterable[onnx.NodeProto], name: str, new_name: str) -> None:
    """What the nodes read of one tensor, they read of another."""
    for node in nodes:
        for position, tensor in enumerate(node.input):
            if tensor == name:
                node.input[position] = new_name


def constant_value(model: onnx.ModelProto, name: str) -> Any:
    """The array of a weight or a Constant node; None where a tensor is computed."""
    for entry in model.graph.initializer:
        if entry.name == name:
            return numpy_helper.to_array(entry)
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output[0] == name:
            return numpy_helper.to_array(node.attribute[0].t)
    return None
