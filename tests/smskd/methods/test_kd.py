from __future__ import annotations

import math

import pytest
import torch

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import Progress, settings_of
from smskd.methods.kd import KD, kd_loss


def test_the_loss_is_what_is_worked_out_by_hand() -> None:
    student, teacher, temperature = [1.0, 2.0, 0.0], [3.0, 0.0, 0.0], 2.0

    def softened(logits: list[float]) -> list[float]:
        powers = [math.exp(logit / temperature) for logit in logits]
        return [power / sum(powers) for power in powers]

    expected = temperature**2 * sum(
        t * math.log(t / s) for t, s in zip(softened(teacher), softened(student), strict=True)
    )
    loss = kd_loss(torch.tensor([student, teacher]), torch.tensor([teacher, teacher]), temperature)
    assert loss.tolist() == pytest.approx([expected, 0.0], abs=1e-6)


def test_the_gradient_keeps_its_size_when_the_temperature_changes() -> None:
    teacher = torch.tensor([[0.1, -0.2, 0.0, 0.1]])
    sizes = []
    for temperature in (10.0, 100.0):
        student = torch.tensor([[0.0, 0.1, -0.1, 0.0]], requires_grad=True)
        kd_loss(student, teacher, temperature).sum().backward()
        sizes.append(student.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_an_impossible_temperature_is_quoted(temperature: float) -> None:
    with pytest.raises(ValueError, match=rf"must be positive, but got temperature={temperature}"):
        KD(temperature=temperature)


def test_logits_of_any_size_give_a_finite_loss() -> None:
    student = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    loss = kd_loss(student, torch.tensor([[-1e4, 1e4], [-1e4, 1e4]]), 4.0)
    loss.sum().backward()
    assert loss.tolist() == [pytest.approx(8e4), 0.0]
    assert student.grad.isfinite().all()


def test_the_method_is_the_mean_over_samples_whatever_their_labels() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 4), torch.randn(3, 4)
    mixed = Batch(torch.zeros(3, 1, 2, 2), torch.full((3, 4), 0.25))
    loss = KD(temperature=2.0)(Signals(student), Signals(teacher), mixed, Progress(0.0, 1))
    assert torch.equal(loss, kd_loss(student, teacher, 2.0).mean())


def test_weight_and_settings_are_the_published_ones() -> None:
    settings = {setting.name: setting.default for setting in settings_of(KD)}
    assert settings == {"temperature": 4.0}
    assert KD.default_weight == 0.9
