"""ONNX files that never end, or ask for more memory than there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.graphs import adopting
from export.graphs.adopting import adopt_onnx
from foundation.bundle import Preprocessing
from foundation.confinement import ProcessLimits
from foundation.errors import CorruptFileError, ExportError

SHAPE = Preprocessing(8, 8, 3, [0.5] * 3, [0.25] * 3)


def classifier(nodes: list, **weights: np.ndarray) -> onnx.ModelProto:
    """The mean of each channel, through `nodes` from "flat" to "scores"."""
    before = [
        helper.make_node("GlobalAveragePool", ["photo"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
    ]
    graph = helper.make_graph(
        [*before, *nodes],
        "brought",
        [helper.make_tensor_value_info("photo", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def endless() -> onnx.ModelProto:
    values = [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        helper.make_tensor_value_info("v", TensorProto.FLOAT, ["N", 3]),
    ]
    results = [
        helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
        helper.make_tensor_value_info("v2", TensorProto.FLOAT, ["N", 3]),
    ]
    steps = [
        helper.make_node("Identity", ["c"], ["c2"]),
        helper.make_node("Relu", ["v"], ["v2"]),
    ]
    body = helper.make_graph(steps, "body", values, results)
    loop = helper.make_node("Loop", ["times", "on", "flat"], ["scores"], body=body)
    return classifier([loop], times=np.array(1 << 62), on=np.array(True))


def huge() -> onnx.ModelProto:
    nodes = [
        helper.make_node("ConstantOfShape", ["sizes"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["most"], keepdims=0),
        helper.make_node("Add", ["flat", "most"], ["scores"]),
    ]
    return classifier(nodes, sizes=np.array([1 << 36]))


def test_a_file_is_tried_out_and_written_whole(tmp_path: Path) -> None:
    onnx.save(classifier([helper.make_node("Relu", ["flat"], ["scores"])]), tmp_path / "m.onnx")
    adopted = adopt_onnx(tmp_path / "m.onnx", SHAPE, tmp_path / "out.onnx")
    assert (adopted.classes, adopted.remarks) == (3, [])
    assert onnx.load(tmp_path / "out.onnx").graph.output[0].name == "scores"


def test_a_file_that_asks_for_gigabytes_is_one_line(tmp_path: Path) -> None:
    onnx.save(huge(), tmp_path / "m.onnx")
    with pytest.raises(ExportError, match=r"m\.onnx: asks for more than \d+ GiB of memory") as told:
        adopt_onnx(tmp_path / "m.onnx", SHAPE, tmp_path / "out.onnx")
    assert "\n" not in str(told.value)


def test_a_file_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(endless(), tmp_path / "m.onnx")
    limits = ProcessLimits(8.0, 8 << 30)
    monkeypatch.setattr(adopting.ProcessLimits, "for_model", lambda _: limits)
    with pytest.raises(ExportError, match=r"m\.onnx: did not come to an end within 8 seconds"):
        adopt_onnx(tmp_path / "m.onnx", SHAPE, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_a_file_that_is_none_is_told_by_the_name_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.onnx").write_bytes(b"no model")
    with pytest.raises(CorruptFileError, match=r"^m\.onnx: not an ONNX file"):
        adopt_onnx(Path("m.onnx"), SHAPE, tmp_path / "out.onnx")
