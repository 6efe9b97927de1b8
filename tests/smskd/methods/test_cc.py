from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_networks import Brightness
from torch import nn

from foundation.errors import ModelMismatchError
from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import Progress, settings_of
from smskd.methods.cc import CC, cc_loss, correlations
from smskd.pair import make_pair

IMAGES = torch.zeros(2, 1, 4, 4)
MIXED = Batch(IMAGES, torch.full((2, 3), 1 / 3))


def network(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, width, 4), nn.ReLU(), nn.Flatten(), nn.Linear(width, 3))


def built(**settings: float) -> CC:
    torch.manual_seed(0)
    method = CC(**settings)
    method.build(make_pair(network(5), network(7), IMAGES))
    return method


def said(width: int, seed: int) -> Signals:
    numbers = torch.Generator().manual_seed(seed)
    return Signals(torch.zeros(4, 3), embedding=torch.randn((4, width), generator=numbers))


def test_a_high_order_is_the_gaussian_kernel() -> None:
    torch.manual_seed(0)
    embedding = nn.functional.normalize(torch.randn(4, 3, dtype=torch.float64))
    expected = torch.exp(-0.4 * torch.cdist(embedding, embedding).square())
    torch.testing.assert_close(correlations(5 * embedding, 0.4, 20), expected)


def test_the_loss_is_what_is_worked_out_by_hand() -> None:
    """Loops over pairs of samples, in plain Python."""
    rng = np.random.default_rng(0)
    embeddings = [rng.standard_normal((3, 4)), rng.standard_normal((3, 2))]
    gamma = 0.4

    def kernel(e: np.ndarray) -> list[list[float]]:
        def cosine(x: np.ndarray, y: np.ndarray) -> float:
            dot = sum(a * b for a, b in zip(x, y, strict=True))
            return dot / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))

        def series(z: float) -> float:
            return math.exp(-2 * gamma) * (1 + 2 * gamma * z + (2 * gamma * z) ** 2 / 2)

        return [[series(cosine(x, y)) for y in e] for x in e]

    s, t = map(kernel, embeddings)
    expected = sum((s[i][j] - t[i][j]) ** 2 for i in range(3) for j in range(3)) / 9
    loss = cc_loss(*map(torch.from_numpy, embeddings), gamma, 2)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_embeddings_that_are_the_same_but_for_length_are_congruent() -> None:
    torch.manual_seed(0)
    embedding = torch.randn(4, 3, dtype=torch.float64)
    lengths = torch.tensor([[0.1], [1.0], [3.0], [9.0]], dtype=torch.float64)
    assert cc_loss(lengths * embedding, embedding, 0.4, 2).item() < 1e-20


def test_a_sample_alone_correlates_with_nobody() -> None:
    student = torch.randn(1, 4, requires_grad=True)
    loss = cc_loss(student, torch.randn(1, 6), 0.4, 2)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-12)
    assert student.grad.abs().max() < 1e-6


def test_samples_that_are_all_the_same_or_at_rest_give_finite_gradients() -> None:
    teacher = torch.randn(4, 5)
    for student in (torch.ones(4, 3), torch.zeros(4, 3), 1e4 * torch.eye(4, 3)):
        student.requires_grad_()
        loss = cc_loss(student, teacher, 0.4, 2)
        loss.backward()
        assert loss.isfinite()
        assert student.grad.abs().max() < 10


def test_the_method_compares_what_both_classifiers_see() -> None:
    method = built(gamma=0.7, order=3)
    student, teacher = said(5, 0), said(7, 1)
    loss = method(student, teacher, MIXED, Progress(0.0, 1))
    assert torch.equal(loss, cc_loss(student.embedding, teacher.embedding, 0.7, 3))
    assert not method.state_dict()


def test_it_is_given_the_joint_batch() -> None:
    assert CC.relates_samples


def test_networks_without_embeddings_are_refused() -> None:
    with pytest.raises(ModelMismatchError, match=r"CC compares embeddings, but .*'kd'"):
        CC().build(make_pair(Brightness(), network(5), IMAGES))


@pytest.mark.parametrize("gamma", [0.0, -1.0])
def test_an_impossible_gamma_is_quoted(gamma: float) -> None:
    with pytest.raises(ValueError, match=rf"must be positive, but got gamma={gamma}"):
        CC(gamma=gamma)


def test_an_order_below_one_is_quoted_and_one_is_not() -> None:
    CC(order=1)
    with pytest.raises(ValueError, match=r"must be at least 1, but got order=0"):
        CC(order=0)


def test_weight_and_settings_are_the_published_ones() -> None:
    settings = {setting.name: setting.default for setting in settings_of(CC)}
    assert settings == {"gamma": 0.4, "order": 2}
    assert CC.default_weight == 100.0
