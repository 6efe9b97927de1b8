from __future__ import annotations

import math

import pytest
import torch

from foundation.errors import UnknownNameError
from smskd.weightings import WEIGHTINGS, true_class_probability, with_mean_one


def test_tcp_is_what_the_teacher_gives_to_the_true_class() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.0], [math.log(7), math.log(2), math.log(1)]])
    powers = [math.exp(1), math.exp(2), math.exp(0)]
    found = true_class_probability(logits, torch.tensor([1, 0]))
    assert found.tolist() == pytest.approx([powers[1] / sum(powers), 0.7])


def test_the_tcp_of_a_mixed_image_is_the_mean_over_its_classes() -> None:
    """The teacher gives 0.7, 0.2 and 0.1; the image is three quarters of the first class."""
    logits = torch.tensor([[math.log(7), math.log(2), math.log(1)]] * 2)
    mixed = torch.tensor([[0.75, 0.25, 0.0], [0.0, 0.0, 1.0]])
    found = true_class_probability(logits, mixed)
    assert found.tolist() == pytest.approx([0.75 * 0.7 + 0.25 * 0.2, 0.1])


def test_mixed_labels_of_one_class_are_that_class() -> None:
    logits, labels = torch.randn(5, 4), torch.tensor([3, 0, 1, 1, 2])
    mixed = torch.nn.functional.one_hot(labels, 4).float()
    found = true_class_probability(logits, mixed)
    assert torch.allclose(found, true_class_probability(logits, labels))


def test_tcp_has_full_precision_under_half_logits() -> None:
    logits = torch.randn(3, 4).bfloat16()
    found = true_class_probability(logits, torch.tensor([0, 1, 2]))
    expected = true_class_probability(logits.float(), torch.tensor([0, 1, 2]))
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tcp", [0.0, 0.25, 1.0]),
        ("inverse-tcp", [1.0, 0.75, 0.0]),
        ("constant", [1.0, 1.0, 1.0]),
        ("none", [0.0, 0.0, 0.0]),
    ],
)
def test_a_weighting_is_what_is_worked_out_by_hand(name: str, expected: list[float]) -> None:
    assert WEIGHTINGS.get(name)(torch.tensor([0.0, 0.25, 1.0])).tolist() == expected


@pytest.mark.parametrize("name", WEIGHTINGS.names())
def test_a_weighting_gives_each_sample_a_weight_from_zero_to_one(name: str) -> None:
    probability = torch.linspace(0, 1, 11)
    weights = WEIGHTINGS.get(name)(probability)
    assert weights.shape == probability.shape
    assert weights.min() >= 0
    assert weights.max() <= 1


def test_an_unknown_weighting_brings_up_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="weighting 'inverse_tcp', did you mean 'inverse-"):
        WEIGHTINGS.get("inverse_tcp")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tcp", [0.0, 0.6, 2.4]),  # 0, 0.25, 1 over 5/12
        ("inverse-tcp", [12 / 7, 9 / 7, 0.0]),  # 1, 0.75, 0 over 7/12
        ("constant", [1.0, 1.0, 1.0]),
        ("none", [0.0, 0.0, 0.0]),
    ],
)
def test_weights_of_mean_one_are_what_is_worked_out_by_hand(
    name: str, expected: list[float]
) -> None:
    weights = WEIGHTINGS.get(name)(torch.tensor([0.0, 0.25, 1.0]))
    assert with_mean_one(weights).tolist() == pytest.approx(expected)


def test_weights_of_mean_one_do_not_depend_on_the_size_of_the_weights() -> None:
    """Nor when a teacher is so sure that hardly anything of 1 − TCP is left."""
    weights = torch.tensor([1e-7, 3e-7, 0.0])
    assert with_mean_one(weights).tolist() == pytest.approx([0.75, 2.25, 0.0])
    assert torch.allclose(with_mean_one(weights), with_mean_one(1e6 * weights))
