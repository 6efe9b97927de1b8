from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference
from torch import nn
from torch.nn import functional as F

from export.checking.parity import TOLERANCES, compare
from export.checking.reference import torch_predictor
from export.formats import FORMATS
from export.formats._graph import MAIN, Graph
from export.graphs.to_onnx import export_onnx
from export.quantization import QuantizationScheme
from export.requests import ExportSource
from export.samples import GraphSamples
from foundation.errors import ExportError

FORMAT = FORMATS.get("onnx")()
MODEL = "model.onnx"


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


def optimised(file: Path, folder: Path) -> list[str]:
    """The operators that ONNX Runtime is left with when it has opened a file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node]


def stored(path: Path) -> int:
    return sum(numpy_helper.to_array(entry).nbytes for entry in onnx.load(path).graph.initializer)


def test_fp16_is_a_graph_of_halves_that_takes_and_gives_fp32(
    attention_file: Path, tmp_path: Path
) -> None:
    written = FORMAT.write(attention_file, "fp16", tmp_path, np.empty((0,)), QuantizationScheme())
    file = tmp_path / "model.onnx"
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert written.facts["half_weights"] > 5
    assert written.facts["computes_in"].startswith("fp16 where")
    ends = [*model.graph.input, *model.graph.output]
    assert {end.type.tensor_type.elem_type for end in ends} == {onnx.TensorProto.FLOAT}
    inside = onnx.shape_inference.infer_shapes(model).graph.value_info
    assert onnx.TensorProto.FLOAT16 in {entry.type.tensor_type.elem_type for entry in inside}
    assert stored(file) < 0.55 * stored(attention_file)
    images = np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype(np.float32)
    parity = compare(FORMAT.predict(attention_file, images), FORMAT.predict(file, images))
    assert 1e-6 < parity.relative_error < TOLERANCES["fp16"].relative_error


@pytest.mark.skipif(platform.machine() != "x86_64", reason="an ARM core may compute in halves")
def test_fp16_runs_the_operators_of_fp32_where_there_is_no_arithmetic_for_it(
    onnx_file: Path, tmp_path: Path
) -> None:
    FORMAT.write(onnx_file, "fp16", tmp_path, np.empty((0,)), QuantizationScheme())
    operators = optimised(tmp_path / MODEL, tmp_path)
    casts = [kind for kind in operators if kind == "Cast"]
    assert [kind for kind in operators if kind != "Cast"] == optimised(onnx_file, tmp_path)
    # Behind the pool, which stays in FP32, the few features are cast there and back; at the end
    # the answer is, as the file says.
    assert len(casts) <= 3


def test_what_overflows_in_halves_is_seen_on_a_cpu_that_computes_in_fp32(tmp_path: Path) -> None:
    weights = np.full((2, 1, 1, 1), 300, np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "up"], ["large"], "up"),
        helper.make_node("Conv", ["large", "down"], ["mean"], "down"),
        helper.make_node("Flatten", ["mean"], ["logits"], "flat"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 1, 1, 1])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 2])],
        [
            numpy_helper.from_array(weights, "up"),
            numpy_helper.from_array(np.full((2, 2, 1, 1), 1e-3, np.float32), "down"),
        ],
    )
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "large.onnx")
    FORMAT.write(tmp_path / "large.onnx", "fp16", tmp_path, np.empty((0,)), QuantizationScheme())
    image = np.full((1, 1, 1, 1), 100, np.float32)
    expected = FORMAT.predict(tmp_path / "large.onnx", image)
    parity = compare(expected, FORMAT.predict(tmp_path / MODEL, image))
    assert parity.relative_error < TOLERANCES["fp16"].relative_error
    assert not np.isfinite(FORMAT.predict(tmp_path / MODEL, 3 * image)).any()
    assert np.isfinite(FORMAT.predict(tmp_path / "large.onnx", 3 * image)).all()


def test_average_pools_stay_in_fp32_for_there_is_no_kernel_of_halves_on_arm(tmp_path: Path) -> None:
    kinds = ("AveragePool", "Relu", "GlobalAveragePool", "Flatten")
    tensors = ["image", "a", "b", "c", "logits"]
    nodes = [
        helper.make_node(kind, [taken], [given], kind)
        for kind, taken, given in zip(kinds, tensors, tensors[1:], strict=False)
    ]
    nodes[0].attribute.append(helper.make_attribute("kernel_shape", [2, 2]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 3])],
    )
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "pool.onnx")
    FORMAT.write(tmp_path / "pool.onnx", "fp16", tmp_path, np.empty((0,)), QuantizationScheme())
    inferred = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / MODEL), strict_mode=True)
    types = {entry.name: entry.type.tensor_type.elem_type for entry in inferred.graph.value_info}
    taken = {node.op_type: types.get(node.input[0]) for node in inferred.graph.node}
    assert taken["Relu"] == onnx.TensorProto.FLOAT16
    assert taken["GlobalAveragePool"] == onnx.TensorProto.FLOAT
    assert taken["AveragePool"] in {None, onnx.TensorProto.FLOAT}


def test_of_a_graph_that_is_no_classifier_the_weights_alone_are_halves(
    onnx_file: Path, tmp_path: Path
) -> None:
    nothing = GraphSamples({}, [])
    written = FORMAT.write(onnx_file, "fp16", tmp_path, nothing, QuantizationScheme())
    model = onnx.load(tmp_path / MODEL)
    onnx.checker.check_model(model, full_check=True)
    casts = sum(node.op_type == "Cast" for node in model.graph.node)
    assert written.facts["half_weights"] == casts > 1
    assert written.facts["computes_in"] == "fp32"
    assert stored(tmp_path / MODEL) < 0.6 * stored(onnx_file)
    assert optimised(tmp_path / MODEL, tmp_path) == optimised(onnx_file, tmp_path)


def test_a_weight_that_float16_cannot_hold_stays(onnx_file: Path, tmp_path: Path) -> None:
    model = onnx.load(onnx_file)
    entry = max(model.graph.initializer, key=lambda entry: numpy_helper.to_array(entry).size)
    value = numpy_helper.to_array(entry).copy()
    value.flat[0] = 1e6
    entry.CopyFrom(numpy_helper.from_array(value, entry.name))
    onnx.save(model, tmp_path / "large.onnx")
    FORMAT.write(tmp_path / "large.onnx", "fp16", tmp_path, np.empty((0,)), QuantizationScheme())
    kept = {e.name: e.data_type for e in onnx.load(tmp_path / "model.onnx").graph.initializer}
    assert kept[entry.name] == onnx.TensorProto.FLOAT
    assert onnx.TensorProto.FLOAT16 in kept.values()


def test_dynamic_int8_takes_products_only_and_needs_no_images(
    onnx_file: Path, source: ExportSource, tmp_path: Path
) -> None:
    scheme = QuantizationScheme(method="dynamic")
    written = FORMAT.write(onnx_file, "int8", tmp_path, np.empty((0, 3, 32, 32)), scheme)
    kinds = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert "MatMulInteger" in kinds
    assert "Conv" in kinds
    assert "ConvInteger" not in kinds
    facts = written.facts["quantization"]
    assert facts["calibration_images"] == 0
    assert facts["operators_quantized"] == {"Gemm": 1}
    assert len(facts["operators_kept"]) == 2
    images = source.preprocessing.apply(source.probe_images)
    parity = compare(FORMAT.predict(onnx_file, images), FORMAT.predict(tmp_path / MODEL, images))
    assert parity.signal_to_noise_db > 20
    assert parity.relative_error > 1e-4  # or nothing was quantised


def test_excluded_operators_stay_in_floating_point(
    onnx_file: Path, calibration: np.ndarray, tmp_path: Path
) -> None:
    _, second, head = Graph(onnx.load(onnx_file)).main()
    scheme = QuantizationScheme(excluded=(second, head), reason="two did the harm")
    facts = FORMAT.write(onnx_file, "int8", tmp_path, calibration, scheme).facts["quantization"]
    assert facts["operators_kept"] == facts["excluded"] == [second, head]
    assert facts["operators_quantized"] == {"Conv": 1}
    assert facts["reason"] == "two did the harm"
    model = onnx.load(tmp_path / MODEL)
    floats = {e.name for e in model.graph.initializer if e.data_type == onnx.TensorProto.FLOAT}
    reads = {node.name: node.input[1] for node in model.graph.node if node.name in (second, head)}
    assert set(reads.values()) <= floats
    assert zero_points(model)[2] == {8}  # the first convolution's channels, and no other weight


def test_an_operator_that_is_not_there_cannot_be_excluded(
    onnx_file: Path, calibration: np.ndarray, tmp_path: Path
) -> None:
    scheme = QuantizationScheme(excluded=("node_nothing",))
    with pytest.raises(ExportError, match="no operator 'node_nothing'"):
        FORMAT.write(onnx_file, "int8", tmp_path, calibration, scheme)
    assert list(tmp_path.iterdir()) == []


def test_in_a_transformer_only_products_and_convolutions_are_quantised(
    attention_file: Path, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).normal(size=(8, 3, 32, 32)).astype(np.float32)
    written = FORMAT.write(attention_file, "int8", tmp_path, images, QuantizationScheme())
    model = onnx.load(tmp_path / MODEL)
    graph = Graph(model)
    rounded = [o for o in graph.operators.values() if o.kind == "QuantizeLinear"]
    for operator in rounded:
        (back,) = graph.consumers[operator.outputs[0]]
        around = graph.consumers[graph.operators[back].outputs[0]]
        around += [graph.producers[name] for name in operator.inputs if name in graph.producers]
        # What is rounded is what a product reads or gives, and nothing in between.
        assert any(graph.operators[name].kind in MAIN for name in around), operator
    assert len(rounded) > 10
    assert written.facts["quantization"]["operators_kept"] == []
    parity = compare(
        FORMAT.predict(attention_file, images), FORMAT.predict(tmp_path / MODEL, images)
    )
    assert parity.signal_to_noise_db > 20


def test_operators_without_names_are_quantised_and_excluded_too(
    onnx_file: Path, calibration: np.ndarray, tmp_path: Path
) -> None:
    model = onnx.load(onnx_file)
    for node in model.graph.node:
        node.name = ""
    nameless = tmp_path / "nameless.onnx"
    onnx.save(model, nameless)
    _, second, _ = Graph(model).main()
    scheme = QuantizationScheme(excluded=(second,))
    facts = FORMAT.write(nameless, "int8", tmp_path, calibration, scheme).facts["quantization"]
    assert facts["operators_kept"] == [second]
    assert facts["operators_quantized"] == {"Conv": 1, "Gemm": 1}


def test_settings_that_onnx_runtime_lacks_are_named(
    onnx_file: Path, calibration: np.ndarray, tmp_path: Path
) -> None:
    scheme = QuantizationScheme(bias_correction=True, smooth_quant=True, preset="mixed")
    facts = FORMAT.write(onnx_file, "int8", tmp_path, calibration, scheme).facts["quantization"]
    assert facts["not_applied"] == ["bias_correction", "smooth_quant", "preset"]


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


def test_a_graph_that_symbolic_shape_inference_cannot_follow_is_quantised(tmp_path: Path) -> None:
    """The norm's own shape, which the division is spread over, is where it gives up."""

    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, stride=2)
            self.head = nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(F.normalize(self.conv(x).relu().mean((2, 3)), dim=1))

    source = tmp_path / "normalised.onnx"
    torch.manual_seed(0)
    export_onnx(Normalised(), torch.zeros(1, 3, 32, 32), source, opset=20)
    with pytest.raises(TypeError, match="NoneType"):
        SymbolicShapeInference.infer_shapes(onnx.load(source))
    images = np.random.default_rng(0).normal(size=(8, 3, 32, 32)).astype(np.float32)
    facts = FORMAT.write(source, "int8", tmp_path, images, QuantizationScheme()).facts
    assert facts["quantization"]["operators_quantized"] == {"Conv": 1, "Gemm": 1}
    parity = compare(FORMAT.predict(source, images), FORMAT.predict(tmp_path / MODEL, images))
    assert parity.signal_to_noise_db > 15


@pytest.mark.parametrize("shared", [False, True], ids=["zero-points-apart", "zero-points-shared"])
def test_integers_are_judged_by_arithmetic_that_does_not_saturate(
    tmp_path: Path, shared: bool
) -> None:
    """Two products of 255 and 127 are more than the 16 bits in which x86 without VNNI adds them."""
    path = tmp_path / "model.onnx"
    onnx.save(largest_products(shared), path)
    images = np.ones((2, 8, 4, 4), np.float32)
    expected = ReferenceEvaluator(str(path)).run(None, {"x": images})[0]
    np.testing.assert_allclose(FORMAT.load(path)(images), expected, rtol=1e-3)


def largest_products(shared: bool) -> onnx.ModelProto:
    """Two convolutions of the largest integers there are, whose weights may share a zero point."""
    zeros = ["z0", "z0" if shared else "z1"]
    nodes, names = [], ["x", "y0", "y1"]
    for place, zero in enumerate(zeros):
        nodes += [
            helper.make_node("QuantizeLinear", [names[place], "s", "zu"], [f"q{place}"]),
            helper.make_node("DequantizeLinear", [f"q{place}", "s", "zu"], [f"d{place}"]),
            helper.make_node("DequantizeLinear", [f"w{place}", "sw", zero], [f"e{place}"]),
            helper.make_node("Conv", [f"d{place}", f"e{place}"], [names[place + 1]]),
        ]
    nodes += [
        helper.make_node("QuantizeLinear", ["y1", "s", "zu"], ["q2"]),
        helper.make_node("DequantizeLinear", ["q2", "s", "zu"], ["y"]),
    ]
    weights = np.full((8, 8, 1, 1), 127, np.int8)
    values = {
        "s": np.float32(1 / 255), "sw": np.float32(1 / 127 / 8), "zu": np.uint8(0),
        "w0": weights, "w1": weights, **dict.fromkeys(zeros, np.int8(0)),
    }  # fmt: skip
    shape = ["batch", 8, 4, 4]
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
