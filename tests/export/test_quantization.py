from __future__ import annotations

import pytest

from export.quantization import QuantizationScheme


def test_the_default_is_u8_activations_with_per_channel_s8_weights() -> None:
    scheme = QuantizationScheme()
    assert (scheme.activation_type, scheme.weight_type, scheme.per_channel) == ("u8", "s8", True)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("activation_type", "int8"), ("weight_type", "s4"), ("calibration", "guess")],
)
def test_an_impossible_value_is_quoted(argument: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{argument} must be one of .* got '{value}'"):
        QuantizationScheme(**{argument: value})


def test_s8_activations_with_u8_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="s8 activations with u8 weights"):
        QuantizationScheme(activation_type="s8", weight_type="u8")
