from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import Progress, settings_of
from smskd.methods.sp import SP, similarities, sp_loss


def test_the_loss_is_what_is_worked_out_by_hand() -> None:
    """Loops over pairs of samples, in plain Python."""
    rng = np.random.default_rng(0)
    features = [rng.standard_normal((3, 2, 2, 2)), rng.standard_normal((3, 4, 1, 3))]

    def rows(feature: np.ndarray) -> list[list[float]]:
        flat = [list(sample.ravel()) for sample in feature]
        gram = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in flat] for x in flat]
        return [[g / math.sqrt(sum(h**2 for h in row)) for g in row] for row in gram]

    s, t = map(rows, features)
    expected = sum((s[i][j] - t[i][j]) ** 2 for i in range(3) for j in range(3)) / 9
    assert sp_loss(*map(torch.from_numpy, features)).item() == pytest.approx(expected, rel=1e-9)


def test_a_larger_feature_has_the_same_similarities() -> None:
    torch.manual_seed(0)
    feature = torch.randn(4, 2, 3, 3, dtype=torch.float64)
    assert sp_loss(7 * feature, feature).item() < 1e-20
    assert sp_loss(feature.flip(0), feature).item() > 1e-3


def test_a_sample_alone_has_nobody_to_be_like() -> None:
    feature = torch.randn(1, 2, 2, 2, requires_grad=True)
    loss = sp_loss(feature, torch.randn(1, 3, 1, 1))
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-12)
    assert feature.grad.abs().max() < 1e-6


def test_samples_that_are_all_the_same_or_at_rest_give_finite_gradients() -> None:
    teacher = torch.randn(4, 2, 2, 2)
    for student in (torch.ones(4, 2, 2, 2), torch.zeros(4, 2, 2, 2)):
        student.requires_grad_()
        loss = sp_loss(student, teacher)
        loss.backward()
        assert loss.isfinite()
        assert student.grad.abs().max() < 10


def test_a_sample_at_rest_among_others_is_like_nobody() -> None:
    feature = torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 1.0]], requires_grad=True)
    assert similarities(feature)[0].tolist() == [0.0, 0.0, 0.0]
    sp_loss(feature, torch.randn(3, 2)).backward()
    assert feature.grad.abs().max() < 10


def test_features_of_any_size_give_a_finite_loss() -> None:
    student = (1e4 * torch.randn(4, 8, 4, 4)).requires_grad_()
    loss = sp_loss(student, 1e4 * torch.randn(4, 8, 4, 4))
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_the_method_compares_the_deepest_features_and_no_labels() -> None:
    torch.manual_seed(0)
    student = torch.randn(3, 2, 4, 4), torch.randn(3, 4, 2, 2)
    teacher = torch.randn(3, 3, 4, 4), torch.randn(3, 6, 3, 3)
    mixed = Batch(torch.zeros(3, 1, 2, 2), torch.full((3, 4), 0.25))
    said = [Signals(torch.randn(3, 4), features) for features in (student, teacher)]
    loss = SP()(*said, mixed, Progress(0.0, 1))
    assert torch.equal(loss, sp_loss(student[-1], teacher[-1]))
    assert SP.relates_samples
    assert SP.needs == ("features",)


def test_weight_and_settings_are_the_published_ones() -> None:
    settings = {setting.name: setting.default for setting in settings_of(SP)}
    assert settings == {}
    assert SP.default_weight == 3000.0
