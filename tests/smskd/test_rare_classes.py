"""Weights of classes and logit adjustment, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from foundation.errors import TrainingError, UnknownNameError
from smskd.batch import Batch
from smskd.distillation import train_alone
from smskd.features.signals import Signals
from smskd.methods import Progress
from smskd.objective import Objective, label_loss
from smskd.rare_classes import class_weights, log_prior
from smskd.stage import Stage

SHARES = torch.tensor([0.8, 0.2])
LOGITS = torch.tensor([[1.0, 0.0], [0.0, 0.0], [2.0, 1.0]])
LABELS = torch.tensor([0, 1, 1])


def loss_of(stage: Stage, shares: torch.Tensor | None = SHARES) -> float:
    objective = Objective(stage, None, shares=shares)
    batch = Batch(torch.zeros(3, 1, 1, 1), LABELS)
    losses = objective(Signals(LOGITS), batch, None, None, Progress(1, 1))
    return float(losses["ce"])


def test_weights_by_hand() -> None:
    assert class_weights(SHARES, "inverse").tolist() == pytest.approx([0.625, 2.5])
    roots = [0.8**-0.5, 0.2**-0.5]
    mean = 0.8 * roots[0] + 0.2 * roots[1]
    assert class_weights(SHARES, "sqrt").tolist() == pytest.approx([r / mean for r in roots])


def test_inverse_weights_are_scikit_learns_balanced_ones() -> None:
    labels = [0] * 70 + [1] * 10 + [2] * 20
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    ours = class_weights(torch.tensor([0.7, 0.1, 0.2]), "inverse")
    assert ours.tolist() == pytest.approx(theirs.tolist())


def test_a_class_without_images_weighs_nothing_and_takes_no_logarithm_of_nothing() -> None:
    shares = torch.tensor([0.5, 0.5, 0.0])
    assert class_weights(shares, "inverse").tolist() == [1, 1, 0]
    assert log_prior(shares).tolist() == pytest.approx([math.log(0.5)] * 2 + [math.log(0.25)])


def test_the_weighted_loss_is_the_mean_over_images() -> None:
    single = F.cross_entropy(LOGITS, LABELS, reduction="none")
    expected = (0.625 * single[0] + 2.5 * single[1] + 2.5 * single[2]) / 3
    assert loss_of(Stage(class_weights="inverse")) == pytest.approx(float(expected))


def test_logit_adjustment_by_hand() -> None:
    """Menon et al.: log(1 + Σ (π_y' / π_y)^τ e^(f_y' − f_y))."""
    tau, (common, rare) = 1.5, SHARES.tolist()
    losses = [
        math.log(1 + (rare / common) ** tau * math.exp(0 - 1)),
        math.log(1 + (common / rare) ** tau * math.exp(0 - 0)),
        math.log(1 + (common / rare) ** tau * math.exp(2 - 1)),
    ]
    assert loss_of(Stage(logit_adjustment=tau)) == pytest.approx(sum(losses) / 3)


def test_of_even_classes_both_change_nothing() -> None:
    even = torch.tensor([0.5, 0.5])
    plain = loss_of(Stage(), None)
    assert loss_of(Stage(class_weights="inverse"), even) == pytest.approx(plain)
    assert loss_of(Stage(logit_adjustment=1.0), even) == pytest.approx(plain)


def test_soft_labels_and_smoothing_are_weighted_too() -> None:
    weights = torch.tensor([0.625, 2.5])
    certain = F.one_hot(LABELS, 2).float()
    hard, soft = (label_loss(LOGITS, y, "ce", 0.1, weights) for y in (LABELS, certain))
    assert hard.item() == pytest.approx(soft.item())


def test_a_stage_that_says_neither_is_told_from_others_as_before() -> None:
    assert not {"class_weights", "logit_adjustment"} & Stage().as_dict().keys()
    assert Stage(class_weights="sqrt").as_dict()["class_weights"] == "sqrt"


@pytest.mark.parametrize("shares", [None, torch.tensor([1.0])])
def test_batches_that_do_not_tell_of_their_classes_are_refused(shares) -> None:
    with pytest.raises(TrainingError, match="attribute class_shares, a number for each class"):
        loss_of(Stage(class_weights="inverse"), shares)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"class_weights": "inverze"}, UnknownNameError, "inverse"),
        ({"logit_adjustment": -1.0}, ValueError, "must not be negative"),
        ({"class_weights": "sqrt", "label_loss": "bce"}, ValueError, "of the cross-entropy"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, error, words) -> None:
    with pytest.raises(error, match=words):
        Stage(**settings)


class Rare:
    """Two classes that overlap, one of them rare."""

    class_shares = (0.9, 0.1)

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        labels = (torch.arange(200) % 10 == 0).long()
        images = torch.randn(200, 1, 1, 1, generator=generator) + labels.view(-1, 1, 1, 1)
        yield images, labels


@pytest.mark.parametrize("settings", [{"class_weights": "inverse"}, {"logit_adjustment": 1.0}])
def test_the_rare_class_is_recognised_more_often(settings, tmp_path) -> None:
    recalls = []
    for number, some in enumerate(({}, settings)):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1, 2))
        stage = Stage(epochs=60, lr=0.5, **some)
        train_alone(net, Rare(), stage, tmp_path / str(number))
        images, labels = next(iter(Rare()))
        recalls.append((net(images).argmax(1) == labels)[labels == 1].float().mean().item())
    plain, helped = recalls
    assert plain < 0.4
    assert helped > 0.6
