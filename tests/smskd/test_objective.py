from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from foundation.errors import UnknownNameError
from smskd.methods import Progress
from smskd.methods.kd import kd_loss
from smskd.objective import Objective, make_method, reference_loss
from smskd.signals import PairShapes, Signals
from smskd.stage import MethodSpec, Stage
from smskd.weightings import true_class_probability

LABELS = torch.tensor([0, 2])
STUDENT = Signals(torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]]))
TEACHER = Signals(torch.tensor([[3.0, 0.0, 0.0], [1.0, 0.0, 2.0]]))
REFERENCE = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
SHAPES = PairShapes((3,), (3,), (), ())


def losses_of(
    stage: Stage, teacher: Signals | None = TEACHER, reference: Tensor | None = REFERENCE
) -> dict[str, Tensor]:
    return Objective(stage, SHAPES)(STUDENT, LABELS, teacher, reference, Progress(0, 1))


def test_the_reference_loss_is_what_is_worked_out_by_hand() -> None:
    student, reference, weights, temperature = [[1.0, 0.0]] * 2, [[0.0, 2.0]] * 2, [0.5, 2.0], 2.0

    def softened(logits: list[float]) -> list[float]:
        powers = [math.exp(logit / temperature) for logit in logits]
        return [power / sum(powers) for power in powers]

    divergences = [
        sum(r * math.log(r / s) for r, s in zip(softened(rs), softened(ss), strict=True))
        for rs, ss in zip(reference, student, strict=True)
    ]
    expected = sum(w * temperature**2 * d for w, d in zip(weights, divergences, strict=True)) / len(
        weights
    )
    found = reference_loss(
        torch.tensor(student), torch.tensor(reference), torch.tensor(weights), temperature
    )
    assert found.item() == pytest.approx(expected)


def test_a_student_that_stays_the_reference_has_no_reference_loss() -> None:
    weights = torch.ones(2)
    assert reference_loss(REFERENCE, REFERENCE, weights, 4.0).item() == pytest.approx(0, abs=1e-7)


def test_the_reference_loss_has_the_slope_that_it_says() -> None:
    student = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    reference, weights = torch.randn(3, 4, dtype=torch.float64), torch.rand(3).double()
    assert torch.autograd.gradcheck(lambda s: reference_loss(s, reference, weights, 4.0), student)


def test_the_loss_is_the_published_sum() -> None:
    """λ_ce · CE + λ · KD + β · mean(TCP_i · τ² · KL(r_i/τ ‖ s_i/τ))."""
    kd = MethodSpec("kd", weight=0.7, settings={"temperature": 3.0})
    stage = Stage((kd,), ce_weight=0.2, reference_weight=0.5, reference_temperature=2.0)
    losses = losses_of(stage)
    probability = true_class_probability(TEACHER.logits, LABELS)
    expected = {
        "ce": 0.2 * torch.nn.functional.cross_entropy(STUDENT.logits, LABELS),
        "kd": 0.7 * kd_loss(STUDENT.logits, TEACHER.logits, 3.0).mean(),
        "reference": 0.5 * reference_loss(STUDENT.logits, REFERENCE, probability, 2.0),
    }
    expected["loss"] = torch.stack(list(expected.values())).sum()
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value.item()), name


def test_the_weighting_decides_where_the_student_holds_on() -> None:
    losses = {
        name: losses_of(Stage("kd", weighting=name))["reference"].item()
        for name in ("tcp", "inverse-tcp", "constant", "none")
    }
    assert losses["none"] == 0.0
    assert losses["tcp"] > 0
    assert losses["tcp"] != pytest.approx(losses["inverse-tcp"])
    assert losses["tcp"] + losses["inverse-tcp"] == pytest.approx(losses["constant"])


def test_a_method_takes_its_own_weight_when_none_is_asked() -> None:
    losses = losses_of(Stage("kd"))
    expected = make_method(MethodSpec("kd")).default_weight * kd_loss(
        STUDENT.logits, TEACHER.logits, 4.0
    )
    assert losses["kd"].item() == pytest.approx(expected.mean().item())


def test_a_method_can_be_weighed_out() -> None:
    assert losses_of(Stage((MethodSpec("kd", weight=0.0),)))["kd"].item() == 0.0


def test_without_reference_and_teacher_the_labels_are_left() -> None:
    assert losses_of(Stage("kd"), reference=None).keys() == {"ce", "kd", "loss"}
    assert losses_of(Stage(), teacher=None, reference=None).keys() == {"ce", "loss"}


def test_several_methods_are_summed_under_their_names() -> None:
    kd, rkd = MethodSpec("kd", weight=1.0), MethodSpec("rkd", weight=2.0)
    features = (torch.randn(2, 4, 2, 2),), (torch.randn(2, 5, 3, 3),)
    student, teacher = Signals(STUDENT.logits, features[0]), Signals(TEACHER.logits, features[1])
    shapes = PairShapes((3,), (3,), ((4, 2, 2),), ((5, 3, 3),))
    losses = Objective(Stage((kd, rkd)), shapes)(student, LABELS, teacher, None, Progress(0, 1))
    assert losses.keys() == {"ce", "kd", "rkd", "loss"}
    parts = sum(losses[name].item() for name in ("ce", "kd", "rkd"))
    assert losses["loss"].item() == pytest.approx(parts)


def test_an_unknown_weighting_is_found_before_training() -> None:
    with pytest.raises(UnknownNameError, match="unknown weighting 'tpc', did you mean 'tcp'"):
        Objective(Stage("kd", weighting="tpc"), SHAPES)
