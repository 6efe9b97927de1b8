"""How a model is quantised to INT8: what a target asks for, in no format's own words."""

from __future__ import annotations

from dataclasses import dataclass, replace

INTEGER_TYPES = ("u8", "s8")
CALIBRATIONS = ("minmax", "percentile", "entropy")
METHODS = ("static", "dynamic")
PRESETS = ("auto", "performance", "mixed")


@dataclass(frozen=True)
class QuantizationScheme:
    """A post-training quantisation scheme.

    Attributes:
        activation_type: "u8" (asymmetric) or "s8" (symmetric).
        weight_type: "s8" or "u8".
        per_channel: one weight scale for each output channel rather than one for the tensor.
        reduce_range: 7-bit weights, for CPUs whose 8-bit products can overflow (x86 without VNNI).
        calibration: how an activation's range follows from the calibration images:
            "minmax", "percentile" or "entropy".
        method: "static" (ranges are fixed now, from images) or "dynamic" (a runtime finds them
            at each call; ONNX only, and only for matrix products).
        excluded: operators that stay in floating point, by their names in the FP32 ONNX graph.
        bias_correction: take the mean error that quantised weights make out of the biases
            (OpenVINO; NNCF's full algorithm, for its fast one loses where maps are small);
            None: where something is lost without it, and it is measured to help.
        smooth_quant: even out activations' channels into the weights first (OpenVINO);
            None: where the graph has attention and it is measured to help.
        preset: OpenVINO's activations: "performance" is symmetric, "mixed" asymmetric where their
            values have both signs; "auto" is "performance" for "s8", and for "u8" too unless
            "mixed" is measured to keep more.
        reason: why this scheme, in a line; it goes into the bundle.

    Raises:
        ValueError: when a value is none of these.
    """

    activation_type: str = "u8"
    weight_type: str = "s8"
    per_channel: bool = True
    reduce_range: bool = False
    calibration: str = "minmax"
    method: str = "static"
    excluded: tuple[str, ...] = ()
    bias_correction: bool | None = None
    smooth_quant: bool | None = None
    preset: str = "auto"
    reason: str = ""

    def __post_init__(self) -> None:
        for name, value, known in (
            ("activation_type", self.activation_type, INTEGER_TYPES),
            ("weight_type", self.weight_type, INTEGER_TYPES),
            ("calibration", self.calibration, CALIBRATIONS),
            ("method", self.method, METHODS),
            ("preset", self.preset, PRESETS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, but got {value!r}")
        if (self.activation_type, self.weight_type) == ("s8", "u8"):
            raise ValueError(
                "no runtime has s8 activations with u8 weights, "
                "but got activation_type='s8', weight_type='u8'"
            )

    def needs_images(self) -> bool:
        """Whether calibration images are needed."""
        return self.method == "static"


def other_schemes(scheme: QuantizationScheme, format_name: str) -> list[QuantizationScheme]:
    """Schemes that run as fast as `scheme` and may lose less, the likeliest first.

    Only what the calibration changes: the types stay, since the target's kernels ask for them.
    """
    if format_name == "openvino":
        changes = [
            {"bias_correction": not scheme.bias_correction},
            {"calibration": "minmax" if scheme.calibration != "minmax" else "percentile"},
        ]
        # Signed activations are for ARM, where asymmetric ones were further from what the integers
        # say (31 dB) than symmetric ones (48 dB).
        if scheme.preset != "mixed" and scheme.activation_type == "u8":
            changes.append({"preset": "mixed"})
    else:
        # ONNX Runtime's entropy keeps all of its 128 bins: the ranges are min-max's once more.
        useless = (scheme.calibration, "entropy")
        changes = [{"calibration": name} for name in CALIBRATIONS if name not in useless]
    return [replace(scheme, **change) for change in changes]  # type: ignore[arg-type]
