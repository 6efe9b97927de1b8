from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graphs.notes import drop_notes


def noted() -> onnx.ModelProto:
    """A model with a note wherever a file may have one, in a branch and in a function too."""
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["then"], doc_string="/home/me/branch.py")],
        "branch", [], [helper.make_tensor_value_info("then", TensorProto.FLOAT, [1])],
    )  # fmt: skip
    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
        helper.make_node("Twice", ["y"], ["z"], domain="own"),
    ]
    value = helper.make_tensor_value_info("z", TensorProto.FLOAT, [1], doc_string="/home/me/v.py")
    weight = numpy_helper.from_array(np.ones(1, np.float32), "x")
    weight.doc_string = "/home/me/weight.py"
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("c", TensorProto.BOOL, [])], [value], [weight],
        doc_string="/home/me/graph.py",
    )  # fmt: skip
    for node in graph.node:
        helper.set_model_props(node, {"pkg.torch.onnx.stack_trace": 'File "/home/me/node.py"'})
    function = helper.make_function(
        "own", "Twice", ["a"], ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"], doc_string="/home/me/function.py")],
        [helper.make_opsetid("", 20)],
    )  # fmt: skip
    model = helper.make_model(graph, functions=[function], doc_string="of /home/me/model.py")
    helper.set_model_props(model, {"stride": "32", "args": "{'data': '/home/me/coco.yaml'}"})
    return model


def test_a_model_loses_its_notes_and_keeps_its_own_properties(tmp_path: Path) -> None:
    model = noted()
    before = model.SerializeToString()
    assert before.count(b"/home/me/") >= 8
    drop_notes(model)
    onnx.save(model, tmp_path / "m.onnx")
    content = (tmp_path / "m.onnx").read_bytes()
    assert b"/home/me" not in content
    assert b"stack_trace" not in content
    kept = {entry.key: entry.value for entry in model.metadata_props}
    assert kept == {"stride": "32", "args": "{'data': 'coco.yaml'}"}
    assert [node.op_type for node in model.graph.node] == ["If", "Twice"]
    assert numpy_helper.to_array(model.graph.initializer[0]).tolist() == [1.0]
