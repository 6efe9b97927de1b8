from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
import pytest

from export.bundling import ExportSource
from export.formats import FORMATS
from export.parity import compare
from export.quantization import QuantizationScheme
from export.reference import torch_predictor
from foundation.errors import ExportError

FORMAT = FORMATS.get("openvino")()


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
            QuantizationScheme(per_channel=False, reduce_range=True, calibration="percentile"),
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
