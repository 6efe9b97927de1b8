from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch
from torch import nn

from export.checking.parity import check, compare
from export.checking.reference import torch_predictor
from export.formats import FORMATS
from export.formats._graph import Graph
from export.formats._openvino_int8 import friendly_names
from export.graphs.embedding import embed_preprocessing
from export.graphs.to_onnx import export_onnx
from export.quantization import QuantizationScheme
from export.requests import ExportSource
from foundation.bundle import Preprocessing
from foundation.errors import ExportError, NoSpaceError

FORMAT = FORMATS.get("openvino")()
MODEL = "model.xml"


def operations(model_file: Path) -> list[openvino.Node]:
    return openvino.Core().read_model(model_file).get_ops()


def stored_weights(model_file: Path) -> dict[str, str]:
    """Element types of the weights of convolutions and the head, by their shapes."""
    return {
        "x".join(map(str, node.get_output_shape(0))): node.get_output_element_type(
            0
        ).get_type_name()
        for node in operations(model_file)
        if node.get_type_name() == "Constant" and np.prod(node.get_output_shape(0)) > 8
    }


def scale_sizes(model_file: Path) -> set[int]:
    """How many scales each INT8 weight is multiplied with."""
    return {
        int(np.prod(node.get_input_shape(1)))
        for node in operations(model_file)
        if node.get_type_name() == "Multiply"
        and node.input_value(0).get_node().get_type_name() == "Convert"
        and node.input_value(0).get_node().get_input_element_type(0) == openvino.Type.i8
    }


@pytest.mark.parametrize(("precision", "kind"), [("fp32", "f32"), ("fp16", "f16"), ("int8", "i8")])
def test_every_weight_is_stored_in_the_precision_that_was_asked_for(
    precision: str, kind: str, bundles: dict
) -> None:
    weights = stored_weights(bundles[f"openvino-{precision}"][0] / "model.xml")
    assert weights == {"8x3x3x3": kind, "8x1x1x3x3": kind, "4x128": kind}


def test_only_int8_has_fake_quantize_operations(bundles: dict) -> None:
    for precision in ("fp32", "fp16", "int8"):
        nodes = operations(bundles[f"openvino-{precision}"][0] / "model.xml")
        found = any(node.get_type_name() == "FakeQuantize" for node in nodes)
        assert found == (precision == "int8")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("batch", [1, 7])
def test_every_precision_takes_any_batch_size(
    precision: str, batch: int, bundles: dict, source: ExportSource
) -> None:
    images = source.preprocessing.apply(source.probe_images[:batch])
    logits = FORMAT.predict(bundles[f"openvino-{precision}"][0] / "model.xml", images)
    assert logits.shape == (batch, 4)
    assert logits.dtype == np.float32


def test_checking_runs_in_full_fp32(bundles: dict, source: ExportSource) -> None:
    """bf16, which OpenVINO takes by itself where the CPU has it, is wrong by 1e-3 and more."""
    images = source.preprocessing.apply(source.probe_images)
    logits = FORMAT.predict(bundles["openvino-fp32"][0] / "model.xml", images)
    assert compare(torch_predictor(source.model)(images), logits).relative_error < 1e-5


@pytest.mark.parametrize(
    ("scheme", "preset"),
    [
        (QuantizationScheme(activation_type="s8"), "performance"),
        (
            QuantizationScheme(
                per_channel=False, reduce_range=True, calibration="percentile", preset="mixed"
            ),
            "mixed",
        ),
    ],
)
def test_int8_follows_the_scheme_in_silence(
    *,
    scheme: QuantizationScheme,
    preset: str,
    onnx_file: Path,
    calibration: np.ndarray,
    source: ExportSource,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    written = FORMAT.write(onnx_file, "int8", tmp_path, calibration, scheme)
    assert capfd.readouterr() == ("", "")
    assert written.facts["quantization"]["preset"] == preset
    assert written.facts["quantization"]["calibration_images"] == 50
    images = source.preprocessing.apply(source.probe_images)
    parity = compare(
        torch_predictor(source.model)(images), FORMAT.predict(tmp_path / "model.xml", images)
    )
    assert parity.top1_agreement >= 0.9


def test_weights_have_a_scale_for_each_channel_or_one_for_all(
    bundles: dict, onnx_file: Path, calibration: np.ndarray, tmp_path: Path
) -> None:
    scheme = QuantizationScheme(per_channel=False)
    FORMAT.write(onnx_file, "int8", tmp_path, calibration, scheme)
    # Both convolutions, the depthwise one too, have 8 output channels and the head has 4.
    assert scale_sizes(bundles["openvino-int8"][0] / "model.xml") == {8, 4}
    assert scale_sizes(tmp_path / "model.xml") == {1}


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        (QuantizationScheme(weight_type="u8"), "s8 weights only"),
        (QuantizationScheme(calibration="entropy"), "no entropy calibration"),
        (QuantizationScheme(method="dynamic"), "no dynamic INT8"),
    ],
)
def test_a_scheme_that_openvino_lacks_is_refused(
    scheme: QuantizationScheme,
    message: str,
    onnx_file: Path,
    calibration: np.ndarray,
    tmp_path: Path,
) -> None:
    with pytest.raises(ExportError, match=message):
        FORMAT.write(onnx_file, "int8", tmp_path, calibration, scheme)


def test_bf16_stores_half_and_is_run_in_bf16_where_the_cpu_has_it(
    onnx_file: Path, source: ExportSource, tmp_path: Path
) -> None:
    errors = {}
    images = source.preprocessing.apply(source.probe_images)
    expected = torch_predictor(source.model)(images)
    for precision in ("fp16", "bf16"):
        (folder := tmp_path / precision).mkdir()
        written = FORMAT.write(onnx_file, precision, folder, np.empty((0,)), QuantizationScheme())
        assert set(stored_weights(folder / MODEL).values()) == {"f16"}
        assert FORMAT.precision_of(folder / MODEL) == precision
        errors[precision] = compare(expected, FORMAT.predict(folder / MODEL, images))
    assert written.facts["inference_precision_hint"] == "bf16"
    check(errors["bf16"], "bf16", "bundle")
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert errors["bf16"].relative_error > 2 * errors["fp16"].relative_error


def quantised_inputs(model_file: Path) -> dict[str, bool]:
    """For each convolution and product, whether it reads quantised activations."""
    return {
        node.get_friendly_name().split("/")[0]: node.input_value(0).get_node().get_type_name()
        == "FakeQuantize"
        for node in operations(model_file)
        if node.get_type_name() in {"Convolution", "GroupConvolution", "MatMul"}
    }


def test_operators_are_excluded_by_their_onnx_names(
    onnx_file: Path, calibration: np.ndarray, tmp_path: Path
) -> None:
    first, second, head = Graph(onnx.load(onnx_file)).main()
    scheme = QuantizationScheme(excluded=(second, head))
    facts = FORMAT.write(onnx_file, "int8", tmp_path, calibration[:8], scheme).facts["quantization"]
    assert facts["operators_kept"] == facts["excluded"] == [second, head]
    assert facts["operators_quantized"] == {"Conv": 1}
    assert quantised_inputs(tmp_path / MODEL) == {first: True, second: False, head: False}
    with pytest.raises(ExportError, match="no operator 'node_nothing'"):
        scheme = QuantizationScheme(excluded=("node_nothing",))
        FORMAT.write(onnx_file, "int8", tmp_path, calibration[:8], scheme)


def test_every_operator_of_an_attention_graph_has_a_name_in_openvino(attention_file: Path) -> None:
    """The converter fuses attention's products into one node and takes Gemm apart."""
    graph = Graph(onnx.load(attention_file))
    model = openvino.convert_model(attention_file)
    kinds = {node.get_friendly_name(): node.get_type_name() for node in model.get_ops()}
    for operator in graph.main():
        names = friendly_names(model, graph, (operator,))
        found = {kinds[name] for name in names}
        assert found & {"Convolution", "MatMul", "ScaledDotProductAttention"}, operator
        assert len(names) <= 3, operator


def test_transformers_are_smoothed_where_that_is_measured_to_help(
    attention_file: Path, onnx_file: Path, calibration: np.ndarray, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    written = FORMAT.write(attention_file, "int8", tmp_path, images, QuantizationScheme())
    facts = written.facts["quantization"]
    measured = facts["smoothing_measured"]
    gain = measured["smoothed"]["signal_to_noise_db"] - measured["plain"]["signal_to_noise_db"]
    assert facts["smooth_quant"] is (gain >= 0.5)
    names = [node.get_friendly_name() for node in operations(tmp_path / MODEL)]
    assert any("smooth_quant" in name for name in names) is facts["smooth_quant"]
    assert f"{measured['plain']['signal_to_noise_db']:.1f} without" in written.remarks[0]
    logits = FORMATS.get("onnx")().predict(attention_file, images)
    # How many decibels hangs on the CPU's 8-bit products; what was measured holds for the file.
    decibels = compare(logits, FORMAT.predict(tmp_path / MODEL, images)).signal_to_noise_db
    better = max(measured[which]["signal_to_noise_db"] for which in ("smoothed", "plain"))
    assert decibels > better - 0.6

    plain = FORMAT.write(onnx_file, "int8", tmp_path, calibration[:8], QuantizationScheme())
    assert plain.facts["quantization"]["smooth_quant"] is False


def test_biases_are_corrected_on_demand(
    onnx_file: Path, calibration: np.ndarray, source: ExportSource, tmp_path: Path
) -> None:
    images = source.preprocessing.apply(source.probe_images)
    logits = []
    for corrected in (False, True):
        scheme = QuantizationScheme(bias_correction=corrected)
        facts = FORMAT.write(onnx_file, "int8", tmp_path, calibration[:8], scheme).facts
        assert facts["quantization"]["bias_correction"] is corrected
        logits.append(FORMAT.predict(tmp_path / MODEL, images))
    assert not np.array_equal(*logits)
    assert compare(*logits).signal_to_noise_db > 15


def test_the_preset_can_be_named_against_the_activations_type(
    onnx_file: Path, calibration: np.ndarray, tmp_path: Path
) -> None:
    scheme = QuantizationScheme(preset="performance")
    facts = FORMAT.write(onnx_file, "int8", tmp_path, calibration[:8], scheme).facts["quantization"]
    assert facts["preset"] == "performance"


def test_what_is_rounded_in_front_of_a_pool_is_rounded_behind_it(tmp_path: Path) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3),
        nn.Flatten(),
        nn.Linear(8 * 6 * 6, 4),
    )
    source = tmp_path / "pooled.onnx"
    export_onnx(network, torch.zeros(1, 3, 16, 16), source, opset=20)
    images = np.random.default_rng(0).normal(size=(4, 3, 16, 16)).astype(np.float32)
    facts = FORMAT.write(source, "int8", tmp_path, images, QuantizationScheme()).facts
    assert facts["quantization"]["operators_kept"] == []
    assert facts["quantization"]["operators_quantized"] == {"Conv": 2, "Gemm": 1}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_model_is_the_same_bytes_however_often_it_is_made(
    onnx_file: Path, calibration: np.ndarray, tmp_path: Path, precision: str
) -> None:
    """OpenVINO numbers the layers without a name by a counter of the whole process."""
    made = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        FORMAT.write(onnx_file, precision, folder, calibration[:8], QuantizationScheme())
        shape = Preprocessing(32, 32, 3, [0.4] * 3, [0.2] * 3)
        embed_preprocessing("openvino", folder / MODEL, shape)
        made.append([(folder / name).read_bytes() for name in (MODEL, "model.bin")])
    assert made[0] == made[1]


def test_a_full_disk_is_told_as_one_though_the_library_says_only_that_its_stream_failed(
    small_disk: tuple[Path, Callable[[str], None]], tmp_path: Path
) -> None:
    folder, resize = small_disk
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 100)).eval()
    export_onnx(network, torch.zeros(1, 3, 16, 16), tmp_path / "net.onnx", 20)
    resize("100k")
    calibration = np.zeros((1, 3, 16, 16), np.float32)
    with pytest.raises(NoSpaceError, match=r"model\.xml: no space left on the device"):
        FORMAT.write(tmp_path / "net.onnx", "fp32", folder, calibration, QuantizationScheme())
