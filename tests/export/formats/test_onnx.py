from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export.bundling import ExportSource
from export.formats import FORMATS
from export.parity import compare
from export.quantization import QuantizationScheme
from export.reference import torch_predictor
from foundation.errors import ExportError

FORMAT = FORMATS.get("onnx")()


def zero_points(model: onnx.ModelProto) -> tuple[set[np.dtype], set[np.dtype], set[int]]:
    """Types of the activations' and the weights' zero points, and the sizes of the latter."""
    constants = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    activations = {
        constants[node.input[2]].dtype
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
    }
    weights = [
        constants[node.input[2]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        and node.input[0] in constants
        and constants[node.input[0]].ndim > 1
    ]
    return activations, {value.dtype for value in weights}, {value.size for value in weights}


def test_fp32_is_the_exported_file_itself(onnx_file: Path, tmp_path: Path) -> None:
    written = FORMAT.write(onnx_file, "fp32", tmp_path, np.empty((0,)), QuantizationScheme())
    assert (tmp_path / "model.onnx").read_bytes() == onnx_file.read_bytes()
    assert written.facts["opsets"] == {"ai.onnx": 20}
    assert "quantization" not in written.facts


@pytest.mark.parametrize(
    ("scheme", "activation", "weight"),
    [
        (QuantizationScheme(), np.uint8, np.int8),
        (QuantizationScheme(activation_type="s8", calibration="percentile"), np.int8, np.int8),
        (QuantizationScheme(weight_type="u8", calibration="entropy"), np.uint8, np.uint8),
        (QuantizationScheme(per_channel=False, reduce_range=True), np.uint8, np.int8),
    ],
)
def test_int8_is_a_qdq_graph_of_the_schemes_types(
    *,
    scheme: QuantizationScheme,
    activation: type,
    weight: type,
    onnx_file: Path,
    calibration: np.ndarray,
    source: ExportSource,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    written = FORMAT.write(onnx_file, "int8", tmp_path, calibration, scheme)
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert written.facts["quantization"]["calibration_images"] == 50
    assert written.facts["quantization"]["activation_type"] == scheme.activation_type

    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    activations, weights, sizes = zero_points(model)
    assert activations == {np.dtype(activation)}
    assert weights == {np.dtype(weight)}
    # Both convolutions have 8 output channels and the head has 4.
    assert sizes == ({8, 4} if scheme.per_channel else {1})
    assert {entry.domain for entry in model.opset_import} == {""}

    images = source.preprocessing.apply(source.probe_images)
    parity = compare(
        torch_predictor(source.model)(images), FORMAT.predict(tmp_path / "model.onnx", images)
    )
    assert parity.top1_agreement >= 0.9
    assert parity.relative_error > 1e-4  # or nothing was quantised


def test_reduced_range_keeps_weights_within_seven_bits(
    onnx_file: Path, calibration: np.ndarray, tmp_path: Path
) -> None:
    largest = {}
    for reduce_range in (False, True):
        scheme = QuantizationScheme(reduce_range=reduce_range)
        FORMAT.write(onnx_file, "int8", tmp_path, calibration, scheme)
        stored = [
            numpy_helper.to_array(entry)
            for entry in onnx.load(tmp_path / "model.onnx").graph.initializer
        ]
        weights = [value for value in stored if value.dtype == np.int8 and value.ndim > 1]
        largest[reduce_range] = max(int(np.abs(value.astype(int)).max()) for value in weights)
    assert largest[True] <= 64 < largest[False]


@pytest.mark.parametrize("batch", [1, 7])
def test_int8_takes_any_batch_size_and_keeps_its_metadata(
    batch: int, bundles: dict, source: ExportSource
) -> None:
    path = bundles["onnx-int8"][0] / "model.onnx"
    images = source.preprocessing.apply(source.probe_images[:batch])
    assert FORMAT.predict(path, images).shape == (batch, 4)
    keys = {entry.key for entry in onnx.load(path).metadata_props}
    assert {"preprocessing", "classes", "origin"} <= keys


def test_a_model_with_nothing_to_quantise_is_refused(
    calibration: np.ndarray, tmp_path: Path
) -> None:
    source = tmp_path / "source.onnx"
    node = onnx.helper.make_node("Softsign", ["input"], ["logits"])
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 3, 32, 32])
        for name in ("input", "logits")
    ]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    opsets = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), source)
    with pytest.raises(ExportError, match="nothing to quantise"):
        FORMAT.write(source, "int8", tmp_path, calibration, QuantizationScheme())
