"""Grids of 8-bit numbers, worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from smskd.quantization.fake_quantization import FOLLOW, FakeQuantize, FoldedWeights, weight_scale


def with_range(low: float, high: float) -> FakeQuantize:
    quantize = FakeQuantize().eval()
    quantize.load_state_dict({"low": torch.tensor(low), "high": torch.tensor(high)})
    return quantize


def test_values_are_rounded_to_the_nearest_of_256_steps_and_cut_off_beyond_them() -> None:
    quantize = with_range(-5.1, 20.4)  # steps of 0.1, the 51st is zero
    assert quantize.grid()[1] == 51
    given = torch.tensor([0.0, 0.04, 0.06, -0.26, 20.4, 25.0, -9.0])
    expected = torch.tensor([0.0, 0.0, 0.1, -0.3, 20.4, 20.4, -5.1])
    torch.testing.assert_close(quantize(given), expected)


@pytest.mark.parametrize(("low", "high"), [(2.0, 10.0), (-10.0, -2.0), (0.0, 0.0)])
def test_zero_stays_zero_whatever_the_range(low: float, high: float) -> None:
    assert with_range(low, high)(torch.zeros(3)).tolist() == [0, 0, 0]


def test_the_gradient_passes_within_the_range_and_not_beyond() -> None:
    values = torch.tensor([0.33, 0.77, 5.0, -1.0], requires_grad=True)
    with_range(0.0, 1.0)(values).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [1, 1, 0, 0]


def test_the_first_batch_gives_the_range_and_later_ones_move_it() -> None:
    quantize = FakeQuantize().train()
    quantize(torch.tensor([-1.0, 3.0]))
    assert (quantize.low, quantize.high) == (-1, 3)
    quantize(torch.tensor([-2.0, 13.0]))
    assert quantize.low.item() == pytest.approx(-1 - FOLLOW)
    assert quantize.high.item() == pytest.approx(3 + 10 * FOLLOW)


def test_evaluation_leaves_the_range_alone() -> None:
    quantize = with_range(0.0, 1.0)
    quantize(torch.tensor([-7.0, 7.0]))
    assert (quantize.low, quantize.high) == (0, 1)


def test_the_range_of_half_numbers_is_kept_in_float32() -> None:
    quantize = FakeQuantize().train()
    assert quantize(torch.tensor([-1.0, 3.0], dtype=torch.bfloat16)).dtype == torch.float32


def test_every_output_channel_of_a_weight_has_a_step_of_its_own() -> None:
    weight = torch.tensor([[1.27, 0.004], [-127.0, 0.6]])
    assert weight_scale(weight).tolist() == pytest.approx([0.01, 1.0])
    rounded, bias = FoldedWeights()(weight, None)
    assert bias is None
    torch.testing.assert_close(rounded, torch.tensor([[1.27, 0.0], [-127.0, 1.0]]))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("biased", [True, False])
def test_a_folded_layer_does_what_layer_and_batch_norm_do(affine: bool, biased: bool) -> None:
    layer = nn.Conv2d(3, 4, 3, bias=biased)
    norm = nn.BatchNorm2d(4, affine=affine)
    norm(layer(torch.randn(16, 3, 8, 8)))  # statistics
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    norm.eval()
    weight, bias = FoldedWeights(norm.eps).folded(
        layer.weight, layer.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var
    )
    images = torch.randn(2, 3, 8, 8)
    folded = nn.functional.conv2d(images, weight, bias)
    torch.testing.assert_close(folded, norm(layer(images)), rtol=1e-4, atol=1e-5)
