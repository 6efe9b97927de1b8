from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from export.formats._graph import Graph
from foundation.errors import ExportError


def graph_of(nodes: list[onnx.NodeProto], constants: tuple[str, ...] = ()) -> Graph:
    value = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 4, 4])
    weights = [
        helper.make_tensor(name, TensorProto.FLOAT, [4, 4], [0.5] * 16) for name in constants
    ]
    return Graph(helper.make_model(helper.make_graph(nodes, "g", [value], [value], weights)))


def test_attention_is_a_softmax_between_products_of_activations(
    attention_file: Path, onnx_file: Path
) -> None:
    assert Graph(onnx.load(attention_file)).has_attention()
    assert not Graph(onnx.load(onnx_file)).has_attention()


def test_a_gate_or_a_softmax_at_the_end_is_no_attention() -> None:
    gate = [
        helper.make_node("MatMul", ["input", "w"], ["a"]),
        helper.make_node("Softmax", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["c"]),
        helper.make_node("MatMul", ["c", "input"], ["d"]),
        helper.make_node("Softmax", ["d"], ["e"]),
    ]
    assert not graph_of(gate, ("w",)).has_attention()


def test_a_node_without_a_name_goes_by_its_result() -> None:
    graph = graph_of([helper.make_node("Relu", ["input"], ["a"])])
    assert list(graph.operators) == ["a"]


def test_an_unknown_operator_is_refused_with_the_nearest_name() -> None:
    graph = graph_of([helper.make_node("Relu", ["input"], ["a"], name="node_relu")])
    with pytest.raises(ExportError, match=r"no operator 'node_rellu'.*did you mean 'node_relu'"):
        graph.check(["node_rellu"])


def test_what_follows_belongs_to_the_latest_convolution_or_product() -> None:
    graph = graph_of(
        [
            helper.make_node("Relu", ["input"], ["r"], name="first"),
            helper.make_node("MatMul", ["r", "w"], ["a"], name="left"),
            helper.make_node("MatMul", ["r", "w"], ["b"], name="right"),
            helper.make_node("Add", ["b", "a"], ["c"], name="sum"),
            helper.make_node("Relu", ["c"], ["d"], name="last"),
        ],
        ("w",),
    )
    anchors = {"left": "left", "right": "right", "sum": "right", "last": "right"}
    assert graph.anchors() == anchors


def test_a_fused_operator_is_found_at_the_first_tensor_that_is_left() -> None:
    graph = graph_of(
        [
            helper.make_node("MatMul", ["input", "w"], ["a"], name="product"),
            helper.make_node("Relu", ["a"], ["b"], name="relu"),
            helper.make_node("Neg", ["b"], ["c"], name="neg"),
        ],
        ("w",),
    )
    assert graph.surviving("product", {"b", "c"}) == "b"
    assert graph.surviving("product", {"a", "b"}) == "a"
    assert graph.surviving("neg", {"a"}) is None
