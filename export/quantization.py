"""How a model is quantised to INT8: what a target asks for, in no format's own words."""

from __future__ import annotations

from dataclasses import dataclass

INTEGER_TYPES = ("u8", "s8")
CALIBRATIONS = ("minmax", "percentile", "entropy")


@dataclass(frozen=True)
class QuantizationScheme:
    """A post-training static quantisation scheme.

    Attributes:
        activation_type: "u8" (asymmetric) or "s8" (symmetric).
        weight_type: "s8" or "u8".
        per_channel: one weight scale for each output channel rather than one for the tensor.
        reduce_range: 7-bit weights, for CPUs whose 8-bit products can overflow (x86 without VNNI).
        calibration: how an activation's range follows from the calibration images:
            "minmax", "percentile" or "entropy".

    Raises:
        ValueError: when a value is none of these.
    """

    activation_type: str = "u8"
    weight_type: str = "s8"
    per_channel: bool = True
    reduce_range: bool = False
    calibration: str = "minmax"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("activation_type", self.activation_type, INTEGER_TYPES),
            ("weight_type", self.weight_type, INTEGER_TYPES),
            ("calibration", self.calibration, CALIBRATIONS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, but got {value!r}")
        if (self.activation_type, self.weight_type) == ("s8", "u8"):
            raise ValueError(
                "no runtime has s8 activations with u8 weights, "
                "but got activation_type='s8', weight_type='u8'"
            )
