"""Methods that hold a reference: a loss for each sample between two students."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import METHODS, Method, Progress
from smskd.objective import make_method
from smskd.stage import MethodSpec

Made = Callable[..., Any]

ABLE = [name for name, kind in METHODS.items() if kind.holds]
LEARNED = [name for name in ABLE if METHODS.get(name).learns_what_it_holds]
every_able = pytest.mark.parametrize("name", ABLE)

STUDENT, TEACHER = [(3, 6, 6), (4, 3, 3)], [(5, 6, 6), (6, 3, 3)]
END = Progress(3, 3)


def built(name: str, pair_with: Made) -> Method:
    method = make_method(MethodSpec(name))
    method.build(pair_with(STUDENT, TEACHER))
    return method.eval()


def test_these_methods_can_hold_a_reference() -> None:
    assert ABLE == [
        "at", "cc", "dkd", "fitnet", "kd", "kdsvd", "logit-std", "mse", "nst", "pkt", "rkd", "sp",
        "vid",
    ]  # fmt: skip
    assert LEARNED == ["fitnet", "vid"]


@every_able
def test_a_loss_a_sample_is_above_zero_and_has_the_slope_that_it_says(
    name: str, pair_with: Made, random_signals: Made, batch: Batch
) -> None:
    method = built(name, pair_with).double()
    student, reference = (random_signals(STUDENT, torch.float64) for _ in range(2))
    losses = method.held_losses(student, reference, batch, END)
    assert losses.shape == (len(batch.labels),)
    assert losses.abs().min() > 0
    weights = torch.rand(len(losses), dtype=torch.float64)

    def loss(logits: Tensor, embedding: Tensor, *features: Tensor) -> Tensor:
        ours = Signals(logits, features, embedding)
        return (weights * method.held_losses(ours, reference, batch, END)).mean()

    leaves = (student.logits, student.embedding, *student.features)
    leaves = tuple(leaf.requires_grad_() for leaf in leaves)
    assert torch.autograd.gradcheck(loss, leaves, fast_mode=True)


@every_able
def test_a_student_that_stays_its_reference_loses_nothing(
    name: str, pair_with: Made, random_signals: Made, batch: Batch
) -> None:
    method, student = built(name, pair_with), random_signals(STUDENT)
    losses = method.held_losses(student, student, batch, END)
    assert losses.tolist() == pytest.approx([0.0] * len(losses), abs=1e-6)


@pytest.mark.parametrize("name", [name for name in ABLE if name not in LEARNED])
def test_a_method_that_learns_nothing_holds_by_its_own_loss(
    name: str, pair_with: Made, random_signals: Made, batch: Batch
) -> None:
    """The mean over samples is what it would be if the reference were the teacher."""
    method = built(name, pair_with)
    student, reference = random_signals(STUDENT), random_signals(STUDENT)
    own = method(student, reference, batch, Progress(1000, 1000))
    held = method.held_losses(student, reference, batch, Progress(1000, 1000))
    assert held.mean().item() == pytest.approx(own.item(), rel=1e-5)


def test_attention_is_held_as_it_is_worked_out_by_hand(pair_with: Made, batch: Batch) -> None:
    """One channel of two positions: maps (9, 16) and (16, 9) over their length √337."""
    ours = torch.tensor([[[[3.0, 4.0]]], [[[1.0, 0.0]]]])
    kept = torch.tensor([[[[4.0, 3.0]]], [[[2.0, 0.0]]]])
    method = make_method(MethodSpec("at"))
    student, reference = (Signals(torch.zeros(2, 5), (f,)) for f in (ours, kept))
    expected = [(7**2 + 7**2) / 337 / 2, 0.0]
    held = method.held_losses(student, reference, batch, END)
    assert held.tolist() == pytest.approx(expected, abs=1e-7)


def test_hints_are_held_where_the_regressor_sends_both(
    pair_with: Made, random_signals: Made, batch: Batch
) -> None:
    method = built("fitnet", pair_with)
    student, reference = random_signals(STUDENT), random_signals(STUDENT)
    expected = sum(
        (regressor(ours) - regressor(kept)).square().flatten(1).mean(1)
        for regressor, ours, kept in zip(
            method.regressors, student.features, reference.features, strict=True
        )
    )
    held = method.held_losses(student, reference, batch, END)
    assert torch.allclose(held, expected, atol=1e-6)


def test_variational_hints_are_held_in_units_of_the_variance(
    pair_with: Made, random_signals: Made, batch: Batch
) -> None:
    method = built("vid", pair_with)
    student, reference = random_signals(STUDENT), random_signals(STUDENT)
    expected = torch.zeros(len(batch.labels))
    for place, regressor in enumerate(method.regressors):
        variance = F.softplus(method.raw_variances[place]) + 1e-5
        squares = (regressor(student.features[place]) - regressor(reference.features[place])) ** 2
        expected += (squares.mean((2, 3)) / variance).mean(1) / 2
    held = method.held_losses(student, reference, batch, END)
    assert torch.allclose(held, expected, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in METHODS.names() if name not in ABLE])
def test_a_method_that_cannot_says_so_where_it_says_anything(
    name: str, pair_with: Made, random_signals: Made, batch: Batch
) -> None:
    """The feature methods among them share a way that would hold against another network."""
    method = make_method(MethodSpec(name))
    student = random_signals(STUDENT)
    with pytest.raises(NotImplementedError, match="cannot hold a reference"):
        method.held_losses(student, student, batch, END)
