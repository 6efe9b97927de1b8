from __future__ import annotations

import pytest
import torch

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import Progress, settings_of
from smskd.methods.mse import MSE, mse_loss


def test_the_loss_is_what_is_worked_out_by_hand() -> None:
    student = torch.tensor([[1.0, 2.0, 0.0], [5.0, 1.0, 1.0]])
    teacher = torch.tensor([[3.0, 0.0, 1.0], [5.0, 1.0, 1.0]])
    assert mse_loss(student, teacher).tolist() == [(4 + 4 + 1) / 3, 0.0]


def test_logits_of_any_size_give_a_finite_loss() -> None:
    loss = mse_loss(torch.tensor([[1e4, -1e4]]), torch.tensor([[-1e4, 1e4]]))
    assert loss.item() == pytest.approx(4e8)


def test_the_method_is_the_mean_over_samples_whatever_their_labels() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 4), torch.randn(3, 4)
    mixed = Batch(torch.zeros(3, 1, 2, 2), torch.full((3, 4), 0.25))
    loss = MSE()(Signals(student), Signals(teacher), mixed, Progress(0.0, 1))
    assert torch.equal(loss, mse_loss(student, teacher).mean())


def test_weight_and_settings_are_the_published_ones() -> None:
    settings = {setting.name: setting.default for setting in settings_of(MSE)}
    assert settings == {}
    assert MSE.default_weight == 1.0
