from __future__ import annotations

import pytest
import torch
from torch import nn

from smskd.evaluation import evaluate


class Table(nn.Module):
    """Looks the logits up, doubled while training."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        return self.logits[index] * (2 if self.training else 1)


LOGITS = [[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]
BATCHES = [
    (torch.tensor([0, 1]), torch.tensor([0, 1])),
    (torch.tensor([2]), torch.tensor([1])),
]


def test_accuracy_and_loss_are_means_over_images_and_not_over_batches() -> None:
    expected = nn.functional.cross_entropy(torch.tensor(LOGITS), torch.tensor([0, 1, 1]))
    found = evaluate(Table(LOGITS), BATCHES)
    assert found["top1"] == pytest.approx(2 / 3)
    assert found["loss"] == pytest.approx(expected.item())
    assert found["n"] == 3


def test_each_part_keeps_its_mode() -> None:
    model = nn.Sequential(Table(LOGITS), nn.Identity())
    model[1].eval()
    evaluate(model, BATCHES)
    assert [part.training for part in (model, *model)] == [True, True, False]


def test_the_batch_norm_statistics_stay() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, [(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]))])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_no_image_is_an_error() -> None:
    with pytest.raises(ValueError, match="no image to evaluate"):
        evaluate(Table(LOGITS), [])
