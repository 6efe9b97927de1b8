from __future__ import annotations

import numpy as np
import pytest
import torch

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import Progress, settings_of
from smskd.methods.dist import DIST, dist_loss, pearson_distance


def test_the_distance_is_one_minus_numpys_correlation() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 5, 7))
    expected = [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)]
    distance = pearson_distance(torch.from_numpy(first), torch.from_numpy(second))
    np.testing.assert_allclose(distance.numpy(), expected, rtol=1e-12)


def test_the_loss_is_what_numpys_correlations_make() -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.standard_normal((2, 5, 4))
    temperature, beta, gamma = 4.0, 2.0, 3.0

    def softened(logits: np.ndarray) -> np.ndarray:
        powers = np.exp(logits / temperature)
        return powers / powers.sum(1, keepdims=True)

    s, t = softened(student), softened(teacher)
    rows = np.mean([1 - np.corrcoef(s[i], t[i])[0, 1] for i in range(5)])
    columns = np.mean([1 - np.corrcoef(s[:, c], t[:, c])[0, 1] for c in range(4)])
    loss = dist_loss(*map(torch.from_numpy, (student, teacher)), beta, gamma, temperature)
    assert loss.item() == pytest.approx(16 * (2 * rows + 3 * columns), rel=1e-9)


def test_each_row_may_be_larger_and_shifted() -> None:
    torch.manual_seed(0)
    rows = torch.randn(4, 6, dtype=torch.float64)
    scale, shift = torch.tensor([[0.1], [1.0], [3.0], [50.0]]), torch.randn(4, 1)
    assert pearson_distance(scale * rows + shift, rows).max() < 1e-12
    assert pearson_distance(-rows, rows).tolist() == pytest.approx([2.0] * 4)


def test_a_student_that_says_what_the_teacher_says_has_nothing_to_learn() -> None:
    torch.manual_seed(0)
    said = torch.randn(4, 3)
    student = said.clone().requires_grad_()
    loss = dist_loss(student, said, 1.0, 1.0, 1.0)
    loss.backward()
    assert loss.item() == 0.0
    assert student.grad.abs().max() < 1e-6


def test_a_sample_alone_has_classes_to_compare_but_no_other_samples() -> None:
    student = torch.tensor([[1.0, 2.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[3.0, 1.0, 2.0]])
    assert dist_loss(student, teacher, 0.0, 1.0, 1.0).item() == 0.0
    loss = dist_loss(student, teacher, 1.0, 1.0, 1.0)
    loss.backward()
    assert loss.item() > 0
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("count", [3, 50, 256])
def test_samples_that_are_all_the_same_relate_to_nothing_despite_rounding(count: int) -> None:
    student = torch.tensor([[0.3, -0.7, 0.11, 0.5]]).repeat(count, 1).requires_grad_()
    teacher = torch.tensor([[0.9, 0.2, 0.35, 0.1]]).repeat(count, 1)
    loss = dist_loss(student, teacher, 0.0, 1.0, 1.0)
    loss.backward()
    assert loss.item() == 0.0
    assert student.grad.abs().max() == 0.0


def test_a_student_without_an_opinion_is_not_thrown_off() -> None:
    student = torch.zeros(4, 3, requires_grad=True)
    loss = dist_loss(student, torch.randn(4, 3), 1.0, 1.0, 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(1.0)
    assert student.grad.abs().max() == 0.0


def test_logits_of_any_size_give_a_finite_loss_and_gradient() -> None:
    torch.manual_seed(0)
    for size in (10.0, 40.0, 80.0, 1e4):
        student = (size * torch.randn(6, 5)).requires_grad_()
        loss = dist_loss(student, size * torch.randn(6, 5), 1.0, 1.0, 1.0)
        loss.backward()
        assert loss.isfinite()
        assert student.grad.abs().max() < 10


def test_the_method_compares_logits_and_no_labels() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 4), torch.randn(3, 4)
    mixed = Batch(torch.zeros(3, 1, 2, 2), torch.full((3, 4), 0.25))
    method = DIST(beta=2.0, gamma=3.0, temperature=4.0)
    loss = method(Signals(student), Signals(teacher), mixed, Progress(0.0, 1))
    assert torch.equal(loss, dist_loss(student, teacher, 2.0, 3.0, 4.0))
    assert DIST.relates_samples


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_an_impossible_temperature_is_quoted(temperature: float) -> None:
    with pytest.raises(ValueError, match=rf"must be positive, but got temperature={temperature}"):
        DIST(temperature=temperature)


@pytest.mark.parametrize("name", ["beta", "gamma"])
def test_a_negative_weight_is_quoted_and_zero_is_not(name: str) -> None:
    DIST(**{name: 0.0})
    with pytest.raises(ValueError, match=rf"must not be negative, but got .*{name}=-1"):
        DIST(**{name: -1.0})


def test_weight_and_settings_are_the_published_ones() -> None:
    settings = {setting.name: setting.default for setting in settings_of(DIST)}
    assert settings == {"beta": 1.0, "gamma": 1.0, "temperature": 1.0}
    assert DIST.default_weight == 1.0
