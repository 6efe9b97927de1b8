"""Samples of which nobody says what they show: what counts of the loss, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from foundation.errors import ModelMismatchError
from foundation.labels import UNLABELLED
from smskd.batch import Batch, has_label
from smskd.features.signals import Signals
from smskd.methods import METHODS, Progress
from smskd.objective import Objective, corrected_labels, label_loss
from smskd.pair import make_pair
from smskd.stage import Stage
from smskd.training.results import best_epoch
from smskd.weightings import true_class_probability

LN3 = math.log(3)
LOGITS = torch.tensor([[LN3, 0.0], [0.0, LN3], [LN3, 0.0]])  # softmax: 3/4 and 1/4
START = Progress(0, 10)


@pytest.mark.parametrize(("kind", "sure", "unsure"), [("ce", 3 / 4, 1 / 4), ("bce", None, None)])
def test_the_mean_is_that_of_the_labels_that_there_are(kind, sure, unsure) -> None:
    labels = torch.tensor([0, 0, UNLABELLED])
    found = label_loss(LOGITS, labels, kind, 0.0)
    assert found.item() == pytest.approx(label_loss(LOGITS[:2], labels[:2], kind, 0.0).item())
    if sure:  # −(ln 3/4 + ln 1/4) / 2
        assert found.item() == pytest.approx(-(math.log(sure) + math.log(unsure)) / 2)


@pytest.mark.parametrize("kind", ["ce", "bce"])
@pytest.mark.parametrize("mixed", [False, True])
def test_without_any_label_it_is_nought_and_has_a_gradient_of_nought(kind, mixed: bool) -> None:
    labels = torch.zeros(3, 2) if mixed else torch.full((3,), UNLABELLED)
    logits = LOGITS.clone().requires_grad_()
    loss = label_loss(logits, labels, kind, 0.1)
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()


def test_tcp_without_a_label_is_that_of_the_teachers_own_answer() -> None:
    found = true_class_probability(LOGITS, torch.tensor([1, 0, UNLABELLED]))
    assert found.tolist() == pytest.approx([1 / 4, 1 / 4, 3 / 4])
    mixed = torch.tensor([[0.5, 0.5], [0.0, 1.0], [0.0, 0.0]])
    found = true_class_probability(LOGITS, mixed)
    assert found.tolist() == pytest.approx([1 / 2, 3 / 4, 3 / 4])
    assert has_label(mixed).tolist() == [True, True, False]


def test_the_teacher_corrects_labels_by_its_share_sample_by_sample() -> None:
    found = corrected_labels(torch.tensor([0, 0, UNLABELLED]), LOGITS, 0.2)
    # 0.8 · (1, 0) + 0.2 · (3/4, 1/4), and + 0.2 · (1/4, 3/4); none where there is no label
    torch.testing.assert_close(found, torch.tensor([[0.95, 0.05], [0.85, 0.15], [0.0, 0.0]]))


@pytest.fixture
def pair():
    torch.manual_seed(0)
    student, teacher = (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)) for _ in range(2))
    return make_pair(student, teacher, torch.rand(2, 1, 2, 2), samples=3)


def test_a_stage_takes_the_corrected_labels(pair) -> None:
    stage = Stage("kd", ce_weight=1.0, label_correction=0.2)
    batch = Batch(torch.rand(3, 1, 2, 2), torch.tensor([0, 0, UNLABELLED]))
    student = Signals(torch.tensor([[0.0, LN3]] * 3))
    losses = Objective(stage, pair)(student, batch, Signals(LOGITS), None, START)
    low, high = -math.log(1 / 4), -math.log(3 / 4)
    expected = (0.95 * low + 0.05 * high + 0.85 * low + 0.15 * high) / 2
    assert losses["ce"].item() == pytest.approx(expected)


def test_a_correction_without_a_teacher_is_refused() -> None:
    with pytest.raises(ValueError, match=r"nobody corrects the labels, .*label_correction=0\.2"):
        Stage(label_correction=0.2)
    with pytest.raises(ValueError, match=r"from 0 to 1, .*label_correction=1\.5"):
        Stage("kd", label_correction=1.5)


def test_a_method_that_needs_labels_says_so_by_itself(pair) -> None:
    batch = Batch(torch.rand(3, 1, 2, 2), torch.tensor([0, 1, UNLABELLED]))
    with pytest.raises(ModelMismatchError, match="method 'dkd' needs the label of each image"):
        Objective(Stage("dkd"), pair)(Signals(LOGITS), batch, Signals(LOGITS), None, START)
    assert {name for name in METHODS.names() if METHODS.get(name).needs_labels()} == {
        "crd",
        "dkd",
        "sakd",
    }


def test_the_best_epoch_is_told_by_agreement_where_nothing_has_a_label() -> None:
    history = [
        {"epoch": n + 1, "val_top1": None, "val_agreement": share}
        for n, share in enumerate([0.2, 0.5, 0.4])
    ]
    assert best_epoch(history)["epoch"] == 2
    history[2]["val_top1"] = 0.1
    assert best_epoch(history)["epoch"] == 3
