"""ONNX for ONNX Runtime: FP32 as exported, INT8 as static quantise-dequantise (QDQ) graph."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from export._libraries import quiet
from export.formats import FORMATS, ExportFormat, Predictor, Written
from export.quantization import QuantizationScheme
from foundation.errors import ExportError
from foundation.files import write_bytes

MODEL_FILE = "model.onnx"
_LARGEST_BATCH = 32
_ERRORS_ONLY = 3


@FORMATS.register("onnx")
class OnnxFormat(ExportFormat):
    name: ClassVar[str] = "onnx"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "int8")

    def write(
        self,
        source: Path,
        precision: str,
        folder: Path,
        calibration: NDArray[np.float32],
        scheme: QuantizationScheme,
    ) -> Written:
        target = folder / MODEL_FILE
        facts: dict[str, Any] = {"onnxruntime": onnxruntime.__version__}
        if precision == "int8":
            quantize(source, target, calibration, scheme)
            facts["quantization"] = asdict(scheme) | {"calibration_images": len(calibration)}
        else:
            shutil.copyfile(source, target)
        model = onnx.load(target)
        facts |= {
            "ir_version": model.ir_version,
            "opsets": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        }
        return Written(MODEL_FILE, model.graph.input[0].name, model.graph.output[0].name, facts)

    def load(self, model_file: Path) -> Predictor:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        session = onnxruntime.InferenceSession(
            model_file, options, providers=["CPUExecutionProvider"]
        )
        input_name = session.get_inputs()[0].name

        def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
            logits: NDArray[np.float32] = session.run(None, {input_name: batch})[0]
            return logits

        return predict


def quantize(
    source: Path, target: Path, calibration: NDArray[np.float32], scheme: QuantizationScheme
) -> None:
    """Write `source` (FP32 ONNX) as static INT8 QDQ ONNX.

    Args:
        source: FP32 ONNX file.
        target: the file to write.
        calibration: prepared images, shape (N, C, H, W).
        scheme: types and ranges.

    Raises:
        ExportError: when there is nothing in the graph that can be quantised.
    """
    from onnxruntime.quantization import (  # noqa: PLC0415 (half a second)
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415

    types = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8}
    methods = {
        "minmax": CalibrationMethod.MinMax,
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch, quiet():
        prepared, quantized = Path(scratch, "prepared.onnx"), Path(scratch, "quantized.onnx")
        quant_pre_process(source, prepared)
        quantize_static(
            prepared,
            quantized,
            _reader(onnx.load(source).graph.input[0].name, calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=scheme.per_channel,
            reduce_range=scheme.reduce_range,
            activation_type=types[scheme.activation_type],
            weight_type=types[scheme.weight_type],
            calibrate_method=methods[scheme.calibration],
            extra_options={
                "ActivationSymmetric": scheme.activation_type == "s8",
                "WeightSymmetric": True,
            },
        )
        model = onnx.load(quantized)
    if not any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise ExportError(
            "ONNX Runtime found nothing to quantise in this model; export it as fp32 instead"
        )
    _drop_unused_opsets(model)
    onnx.checker.check_model(model)
    write_bytes(target, model.SerializeToString(deterministic=True))


def _reader(input_name: str, images: NDArray[np.float32]) -> Any:
    """A calibration reader over batches of one size: the histogram methods stack them."""
    from onnxruntime.quantization import CalibrationDataReader  # noqa: PLC0415

    size = max(size for size in range(1, _LARGEST_BATCH + 1) if len(images) % size == 0)
    batches = iter(images[start : start + size] for start in range(0, len(images), size))

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(batches, None)
            return None if batch is None else {input_name: batch}

    return Reader()


def _drop_unused_opsets(model: onnx.ModelProto) -> None:
    """ONNX Runtime declares every operator set that it knows; other readers may know fewer."""
    used = {node.domain for node in model.graph.node} | {""}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
