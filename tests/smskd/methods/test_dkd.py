from __future__ import annotations

import math

import pytest
import torch

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import Progress, settings_of
from smskd.methods.dkd import DKD, dkd_loss
from smskd.methods.kd import kd_loss


def loss_of(student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return dkd_loss(student, teacher, labels, 4.0, alpha=1.0, beta=8.0)


def test_the_loss_is_what_is_worked_out_by_hand() -> None:
    """Probabilities first, then the two divergences, in plain Python."""
    student, teacher = [1.0, 2.0, 0.0, -1.0], [3.0, 0.0, 0.5, 1.0]
    label, temperature, alpha, beta = 1, 2.0, 1.5, 8.0

    def softened(logits: list[float]) -> list[float]:
        powers = [math.exp(logit / temperature) for logit in logits]
        return [power / sum(powers) for power in powers]

    def divergence(t: list[float], s: list[float]) -> float:
        return sum(a * math.log(a / b) for a, b in zip(t, s, strict=True))

    s, t = softened(student), softened(teacher)
    target = divergence([t[label], 1 - t[label]], [s[label], 1 - s[label]])
    others_s, others_t = (
        [p / (1 - all_of[label]) for place, p in enumerate(all_of) if place != label]
        for all_of in (s, t)
    )
    expected = temperature**2 * (alpha * target + beta * divergence(others_t, others_s))
    loss = dkd_loss(
        torch.tensor([student, teacher]),
        torch.tensor([teacher, teacher]),
        torch.tensor([label, label]),
        temperature,
        alpha=alpha,
        beta=beta,
    )
    assert loss.tolist() == pytest.approx([expected, 0.0], abs=1e-5)


def test_with_the_teachers_doubt_as_the_weight_of_the_others_it_is_kd() -> None:
    """Equation 5 of the paper: KD = TCKD + (1 − p_true) · NCKD."""
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 5, 4, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0])
    target, others = (
        dkd_loss(student, teacher, labels, 4.0, alpha=alpha, beta=1 - alpha) for alpha in (1.0, 0.0)
    )
    doubt = 1 - (teacher / 4).softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(target + doubt * others, kd_loss(student, teacher, 4.0))


def test_a_network_that_is_quite_sure_gives_a_finite_loss_and_gradient() -> None:
    sure = torch.tensor([[1e4, -1e4, -1e4], [-1e4, 1e4, -1e4], [-1e4, -1e4, 1e4]])
    student = sure.clone().requires_grad_()
    teacher = sure.roll(1, 0)
    labels = torch.tensor([0, 0, 0])
    loss = loss_of(student, teacher, labels)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert student.grad.isfinite().all()
    assert loss_of(sure, sure, labels).abs().max() == 0


def test_two_classes_leave_nothing_to_tell_among_the_others() -> None:
    student, teacher = torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 0.0]])
    loss = dkd_loss(student, teacher, torch.tensor([0]), 4.0, alpha=0.0, beta=8.0)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_the_weight_rises_linearly_from_the_stages_start() -> None:
    rise = [Progress(epoch, 100).risen(20) for epoch in (0.0, 5.0, 10.5, 20.0, 90.0)]
    assert rise == [0.0, 0.25, 0.525, 1.0, 1.0]


def test_the_warm_up_is_never_longer_than_the_stage() -> None:
    assert Progress(5.0, 10).risen(20) == 0.5


def test_without_a_warm_up_the_weight_is_whole_at_once() -> None:
    assert Progress(0.0, 10).risen(0) == 1.0


def test_the_method_is_the_warmed_up_mean_over_samples() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 4), torch.randn(3, 4)
    labels = torch.tensor([0, 3, 1])
    batch = Batch(torch.zeros(3, 1, 2, 2), labels)
    method = DKD(alpha=2.0, beta=3.0, temperature=2.0, warmup_epochs=4)
    whole = dkd_loss(student, teacher, labels, 2.0, alpha=2.0, beta=3.0).mean()
    for epoch, share in ((1.0, 0.25), (4.0, 1.0)):
        loss = method(Signals(student), Signals(teacher), batch, Progress(epoch, 10))
        torch.testing.assert_close(loss, share * whole)


def test_it_needs_a_true_class() -> None:
    assert "class labels" in DKD.needs


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_an_impossible_temperature_is_quoted(temperature: float) -> None:
    with pytest.raises(ValueError, match=rf"must be positive, but got temperature={temperature}"):
        DKD(temperature=temperature)


@pytest.mark.parametrize("name", ["alpha", "beta", "warmup_epochs"])
def test_a_negative_setting_is_quoted_and_zero_is_not(name: str) -> None:
    DKD(**{name: 0})
    with pytest.raises(ValueError, match=rf"must not be negative, but got .*{name}=-1"):
        DKD(**{name: -1})


def test_weight_and_settings_are_the_published_ones() -> None:
    settings = {setting.name: setting.default for setting in settings_of(DKD)}
    assert settings == {"alpha": 1.0, "beta": 8.0, "temperature": 4.0, "warmup_epochs": 20}
    assert DKD.default_weight == 1.0
