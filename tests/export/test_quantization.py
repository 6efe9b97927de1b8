from __future__ import annotations

import pytest

from export.quantization import QuantizationScheme, other_schemes


def test_the_default_is_static_u8_activations_with_per_channel_s8_weights() -> None:
    scheme = QuantizationScheme()
    assert (scheme.activation_type, scheme.weight_type, scheme.per_channel) == ("u8", "s8", True)
    assert (scheme.method, scheme.excluded, scheme.preset) == ("static", (), "auto")
    assert scheme.needs_images()
    assert not QuantizationScheme(method="dynamic").needs_images()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("activation_type", "int8"),
        ("weight_type", "s4"),
        ("calibration", "guess"),
        ("method", "qat"),
        ("preset", "fast"),
    ],
)
def test_an_impossible_value_is_quoted(argument: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be one of .* got '{value}'"):
        QuantizationScheme(**{argument: value})


def test_s8_activations_with_u8_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="s8 activations with u8 weights"):
        QuantizationScheme(activation_type="s8", weight_type="u8")


@pytest.mark.parametrize("format_name", ["onnx", "openvino"])
@pytest.mark.parametrize("activation", ["u8", "s8"])
@pytest.mark.parametrize("calibration", ["minmax", "percentile"])
def test_other_schemes_differ_from_it_and_keep_what_the_kernels_ask_for(
    format_name: str, activation: str, calibration: str
) -> None:
    scheme = QuantizationScheme(activation, calibration=calibration, excluded=("a",))
    others = other_schemes(scheme, format_name)
    assert len({scheme, *others}) == len(others) + 1 >= 2
    for other in others:
        assert (other.activation_type, other.weight_type) == (activation, "s8")
        assert other.excluded == ("a",)
        assert other.calibration != "entropy"  # NNCF has none, and ONNX Runtime's is min-max
        assert activation == "u8" or other.preset == "auto"  # of which s8 makes symmetric ones
