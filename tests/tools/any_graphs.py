"""Small graphs that are no classifiers, made node by node, and samples for them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graph_requests import GraphSource
from export.graphs.adopting_any import answer
from export.graphs.any_graph import inputs_of
from export.samples import GraphSamples
from foundation.bundle import TensorSpec
from foundation.records import build

SHAPES = {"image": [1, 3, 8, 8]}


def two_inputs(path: Path, *, batch: int | str = "N") -> Path:
    """An image and tokens go in; a map, its mask and a vector come out."""
    draw = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((0.4 * draw.standard_normal(shape)).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["image", "k1"], ["c1"], "first", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], "relu"),
        helper.make_node("Conv", ["r1", "k2"], ["map"], "second", pads=[1] * 4),
        helper.make_node("ArgMax", ["map"], ["mask"], "choose", axis=1, keepdims=0),
        helper.make_node("Gather", ["table", "tokens"], ["words"], "look_up"),
        helper.make_node("MatMul", ["words", "m"], ["mixed"], "mix"),
        helper.make_node("ReduceMean", ["mixed"], ["vector"], "mean", axes=[1], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "two",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, "H", "W"]),
            helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, 5]),
        ],
        [
            helper.make_tensor_value_info("map", TensorProto.FLOAT, [batch, 4, "H", "W"]),
            helper.make_tensor_value_info("mask", TensorProto.INT64, [batch, "H", "W"]),
            helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, 6]),
        ],
        [weights("k1", 8, 3, 3, 3), weights("k2", 4, 8, 3, 3), weights("table", 20, 16),
         weights("m", 16, 6)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def detector(path: Path) -> Path:
    """Boxes and scores by a convolution each, and those that non-maximum suppression leaves."""
    kernels = np.random.default_rng(1).standard_normal((5, 3, 4, 4))
    kernels -= kernels.mean((1, 2, 3), keepdims=True)  # else all that is shown is alike

    def constant(name: str, value: object, kind: type) -> onnx.TensorProto:
        return numpy_helper.from_array(np.asarray(value, kind), name)

    nodes = [
        helper.make_node("Conv", ["image", "kb"], ["raw"], "boxes_head", strides=[4, 4]),
        helper.make_node("Conv", ["image", "ks"], ["logits"], "scores_head", strides=[4, 4]),
        helper.make_node("Reshape", ["raw", "as_boxes"], ["flat"], "flatten_boxes"),
        helper.make_node("Transpose", ["flat"], ["turned"], "turn", perm=[0, 2, 1]),
        helper.make_node("Sigmoid", ["turned"], ["corners"], "decode"),
        helper.make_node("Reshape", ["logits", "as_scores"], ["lined"], "flatten_scores"),
        helper.make_node("Sigmoid", ["lined"], ["confidences"], "confidence"),
        helper.make_node(
            "NonMaxSuppression", ["corners", "confidences", "most", "overlap", "least"],
            ["chosen"], "suppress",
        ),
        helper.make_node("Gather", ["chosen", "third"], ["places"], "third_column", axis=1),
        helper.make_node("Gather", ["corners", "places"], ["boxes"], "pick", axis=1),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 16])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, "found", 4]),
            helper.make_tensor_value_info("places", TensorProto.INT64, ["found"]),
        ],
        [
            constant("kb", kernels[:4], np.float32),
            constant("ks", kernels[4:], np.float32),
            constant("as_boxes", [1, 4, 16], np.int64),
            constant("as_scores", [1, 1, 16], np.int64),
            constant("most", [5], np.int64),
            constant("overlap", [0.5], np.float32),
            constant("least", [0.6], np.float32),
            constant("third", 2, np.int64),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def recurrent_in_branches(path: Path) -> Path:
    """A step of an LSTM for one signal or for several at once, which branches tell apart by shapes,
    as exporters of recurrent networks write it."""
    draw = np.random.default_rng(2)

    def step(signals: str, out: str) -> list[onnx.NodeProto]:
        return [helper.make_node("LSTM", [signals, "w", "r"], [out], hidden_size=2)]

    def branches(condition: str, out: str, one: list[Any], several: list[Any]) -> onnx.NodeProto:
        def branch(name: str, nodes: list[Any]) -> onnx.GraphProto:
            given = onnx.ValueInfoProto(name=nodes[-1].output[0])
            given.type.tensor_type.elem_type = TensorProto.FLOAT
            return helper.make_graph(nodes, name, [], [given])

        return helper.make_node(
            "If", [condition], [out],
            then_branch=branch("one", one), else_branch=branch("several", several),
        )  # fmt: skip

    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "zero"], ["count"]),
        helper.make_node("Equal", ["count", "one"], ["is_one"]),
        branches(
            "is_one", "signals",
            [helper.make_node("Squeeze", ["x", "first"], ["alone"])],
            [helper.make_node("Identity", ["x"], ["all"])],
        ),
        helper.make_node("Shape", ["signals"], ["left"]),
        helper.make_node("Size", ["left"], ["axes"]),
        helper.make_node("Equal", ["axes", "two"], ["is_flat"]),
        branches(
            "is_flat", "y",
            [helper.make_node("Unsqueeze", ["signals", "first"], ["deep"]), *step("deep", "y1")],
            step("signals", "y2"),
        ),
    ]  # fmt: skip
    y = onnx.ValueInfoProto(name="y")
    y.type.tensor_type.elem_type = TensorProto.FLOAT
    weights = {"w": (1, 8, 4), "r": (1, 8, 2)}
    constants = {"zero": 0, "one": 1, "two": 2, "first": [0]}
    graph = helper.make_graph(
        nodes,
        "recurrent",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "t", 4])],
        [y],
        [
            *(numpy_helper.from_array(draw.standard_normal(shape, np.float32), name)
              for name, shape in weights.items()),
            *(numpy_helper.from_array(np.asarray(value, np.int64), name)
              for name, value in constants.items()),
        ],
    )  # fmt: skip
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path


def drawn(inputs: list[TensorSpec], count: int, seed: int) -> GraphSamples:
    """Random samples; whole numbers are below 20."""
    draw = np.random.default_rng(seed)
    arrays = {
        spec.name: draw.random((count, *spec.shape), np.float32)
        if spec.dtype == "float32"
        else draw.integers(0, 20, (count, *spec.shape))
        for spec in inputs
    }
    return GraphSamples(arrays, [f"s{number}" for number in range(count)])


def adopted(
    path: Path,
    shapes: dict[str, list[int]],
    folder: Path,
    *,
    probe: np.ndarray | dict[str, np.ndarray] | None = None,
) -> GraphSource:
    """A graph as its export needs it, adopted in this process.

    Args:
        path: the file.
        shapes: of its inputs, where they are free.
        folder: takes what adopting leaves.
        probe: samples by input, or of its only one; None draws six.
    """
    inputs = inputs_of(path, shapes)
    if probe is None:
        probe = dict(drawn(inputs, 6, 1).arrays)
    elif isinstance(probe, np.ndarray):
        probe = {inputs[0].name: probe}
    count = len(next(iter(probe.values())))
    samples = GraphSamples(probe, [f"p{number}" for number in range(count)])
    kept: dict[str, Any] = {f"inputs/{name}": rows for name, rows in probe.items()}
    np.savez(folder / "p.npz", **kept)
    job = {"source": path, "named": path, "path": folder / "adopted.onnx",
           "probe": folder / "p.npz", "reference": folder / "r.npz"}  # fmt: skip
    reply = answer({name: str(value) for name, value in job.items()} | {"shapes": shapes})
    outputs = [build(TensorSpec, spec) for spec in reply["outputs"]]
    with np.load(folder / "r.npz") as file:
        reference = {
            spec.name: [file[f"outputs/{spec.name}/{at}"] for at in range(count)]
            for spec in outputs
        }
    calibration = drawn(inputs, 16, 2)
    return GraphSource(folder / "adopted.onnx", inputs, outputs, calibration, samples, reference)
