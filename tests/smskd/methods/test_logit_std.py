from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import Progress, settings_of
from smskd.methods.logit_std import LogitStandardisation, logit_std_loss, z_scores


def test_z_scores_have_mean_0_and_deviation_1_in_every_sample() -> None:
    torch.manual_seed(0)
    scores = z_scores(3 * torch.randn(4, 10, dtype=torch.float64) + 7).numpy()
    np.testing.assert_allclose(scores.mean(1), 0, atol=1e-12)
    np.testing.assert_allclose(scores.std(1), 1, rtol=1e-12)


def test_the_loss_is_what_is_worked_out_by_hand() -> None:
    student, teacher, temperature = [1.0, 2.0, 0.0], [3.0, 0.0, 0.0], 2.0

    def softened(logits: list[float]) -> list[float]:
        mean = sum(logits) / 3
        deviation = math.sqrt(sum((logit - mean) ** 2 for logit in logits) / 3)
        powers = [math.exp((logit - mean) / deviation / temperature) for logit in logits]
        return [power / sum(powers) for power in powers]

    expected = temperature**2 * sum(
        t * math.log(t / s) for t, s in zip(softened(teacher), softened(student), strict=True)
    )
    loss = logit_std_loss(
        torch.tensor([student, teacher]), torch.tensor([teacher, teacher]), temperature
    )
    assert loss.tolist() == pytest.approx([expected, 0.0], abs=1e-6)


def test_larger_or_shifted_logits_of_either_network_change_nothing() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 4, 10, dtype=torch.float64)
    expected = logit_std_loss(student, teacher, 2.0)
    torch.testing.assert_close(logit_std_loss(5 * student - 3, teacher, 2.0), expected)
    torch.testing.assert_close(logit_std_loss(student, 0.1 * teacher + 9, 2.0), expected)
    assert logit_std_loss(4 * teacher + 1, teacher, 2.0).max() < 1e-12


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4, -1e4])
def test_logits_that_are_all_the_same_say_nothing_and_are_not_pulled(value: float) -> None:
    """Ten times 0.1 is not 1 in binary, so the mean may differ from the value by rounding."""
    student = torch.full((2, 10), value, requires_grad=True)
    teacher = torch.arange(20.0).view(2, 10)
    assert z_scores(student).abs().max() == 0
    loss = logit_std_loss(student, teacher, 2.0)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert student.grad.abs().max() == 0


def test_logits_of_any_size_give_a_finite_loss() -> None:
    student = torch.tensor([[1e4, -1e4, -1e4]], requires_grad=True)
    loss = logit_std_loss(student, torch.tensor([[-1e4, 1e4, 0.0]]), 0.01)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert student.grad.isfinite().all()


def test_the_method_is_the_mean_over_samples_whatever_their_labels() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 4), torch.randn(3, 4)
    mixed = Batch(torch.zeros(3, 1, 2, 2), torch.full((3, 4), 0.25))
    method = LogitStandardisation(temperature=3.0)
    loss = method(Signals(student), Signals(teacher), mixed, Progress(0.0, 1))
    assert torch.equal(loss, logit_std_loss(student, teacher, 3.0).mean())


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_an_impossible_temperature_is_quoted(temperature: float) -> None:
    with pytest.raises(ValueError, match=rf"must be positive, but got temperature={temperature}"):
        LogitStandardisation(temperature=temperature)


def test_weight_and_settings_are_the_published_ones() -> None:
    settings = {setting.name: setting.default for setting in settings_of(LogitStandardisation)}
    assert settings == {"temperature": 2.0}
    assert LogitStandardisation.default_weight == 9.0
