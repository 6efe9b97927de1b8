"""OpenVINO IR: FP32, FP16 weights, or INT8 by NNCF's post-training quantisation."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from export._libraries import quiet
from export.formats import FORMATS, ExportFormat, Predictor, Written
from export.quantization import QuantizationScheme
from foundation.errors import ExportError

MODEL_FILE = "model.xml"


@FORMATS.register("openvino")
class OpenVinoFormat(ExportFormat):
    name: ClassVar[str] = "openvino"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8")

    def write(
        self,
        source: Path,
        precision: str,
        folder: Path,
        calibration: NDArray[np.float32],
        scheme: QuantizationScheme,
    ) -> Written:
        import openvino  # noqa: PLC0415 (a third of a second)

        facts: dict[str, Any] = {"openvino": openvino.__version__}
        # Core.read_model would leave grouped weights behind a Reshape, where NNCF takes the
        # wrong axis for the channels; the converter folds it.
        with quiet():
            model = openvino.convert_model(source)
        if precision == "int8":
            model, facts["quantization"] = quantize(model, calibration, scheme)
        openvino.save_model(model, folder / MODEL_FILE, compress_to_fp16=precision == "fp16")
        input_name, output_name = model.input().get_any_name(), model.output().get_any_name()
        return Written(MODEL_FILE, input_name, output_name, facts)

    def load(self, model_file: Path) -> Predictor:
        import openvino  # noqa: PLC0415

        # Without the hint, OpenVINO computes in bf16 where the CPU can, and says nothing.
        compiled = openvino.Core().compile_model(
            model_file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )

        def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.array(compiled(batch)[0], np.float32)

        return predict


def quantize(
    model: Any, calibration: NDArray[np.float32], scheme: QuantizationScheme
) -> tuple[Any, dict[str, Any]]:
    """Quantise an OpenVINO model to INT8.

    NNCF chooses the sign of an activation by its values. What the scheme decides is the
    preset: "s8" activations are symmetric around zero, "u8" ones may be asymmetric.

    Args:
        model: FP32 `openvino.Model`.
        calibration: prepared images, shape (N, C, H, W).
        scheme: types and ranges.

    Returns:
        The quantised `openvino.Model`, and the facts of its quantisation.

    Raises:
        ExportError: when NNCF has no such scheme, or finds nothing to quantise.
    """
    _check_scheme(scheme)
    with quiet():
        import nncf  # noqa: PLC0415 (three seconds)

        preset = (
            nncf.QuantizationPreset.PERFORMANCE
            if scheme.activation_type == "s8"
            else nncf.QuantizationPreset.MIXED
        )
        quantized = nncf.quantize(
            model,
            nncf.Dataset([calibration[i : i + 1] for i in range(len(calibration))]),
            preset=preset,
            subset_size=len(calibration),
            advanced_parameters=_advanced_parameters(scheme),
        )
    if not any(node.get_type_name() == "FakeQuantize" for node in quantized.get_ops()):
        raise ExportError("NNCF found nothing to quantise in this model; export it as fp32 instead")
    return quantized, asdict(scheme) | {
        "calibration_images": len(calibration),
        "preset": preset.value,
        "nncf": nncf.__version__,
    }


def _check_scheme(scheme: QuantizationScheme) -> None:
    if scheme.weight_type != "s8":
        raise ExportError(
            f"OpenVINO has s8 weights only, but got weight_type={scheme.weight_type!r}; use 's8'"
        )
    if scheme.calibration == "entropy":
        raise ExportError(
            "NNCF has no entropy calibration; use calibration 'minmax' or 'percentile'"
        )


def _advanced_parameters(scheme: QuantizationScheme) -> Any:
    from nncf.quantization import advanced_parameters as advanced  # noqa: PLC0415
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet  # noqa: PLC0415

    return advanced.AdvancedQuantizationParameters(
        # NNCF's remedy for overflowing 8-bit products is the 7-bit weight range.
        overflow_fix=(
            advanced.OverflowFix.ENABLE if scheme.reduce_range else advanced.OverflowFix.DISABLE
        ),
        weights_quantization_params=advanced.QuantizationParameters(per_channel=scheme.per_channel),
        activations_range_estimator_params=(
            RangeEstimatorParametersSet.MINMAX
            if scheme.calibration == "minmax"
            else RangeEstimatorParametersSet.MEAN_QUANTILE
        ),
    )
