from __future__ import annotations

import math

import pytest
import torch

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
