"""The loss of a stage."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundation.errors import ModelMismatchError, UnknownNameError
from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import Method, Progress
from smskd.methods.kd import kd_loss
from smskd.objective import (
    Objective,
    feature_reference_loss,
    label_loss,
    make_method,
    reference_loss,
    spelled_out,
)
from smskd.pair import Pair, make_pair
from smskd.stage import MethodSpec, Stage
from smskd.weightings import true_class_probability

IMAGES = torch.randn(2, 1, 4, 4)
LABELS = torch.tensor([0, 2])
MIXED = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]])
STUDENT = Signals(torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]]))
TEACHER = Signals(torch.tensor([[3.0, 0.0, 0.0], [1.0, 0.0, 2.0]]))
REFERENCE = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
NOW = Progress(0, 1)


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 3, 3, 2, 1), nn.Flatten(), nn.Linear(12, 3)
    )


def pair(samples: int | None = None) -> Pair:
    return make_pair(network(), network(), IMAGES, samples=samples)


def losses_of(
    stage: Stage,
    teacher: Signals | None = TEACHER,
    reference: Tensor | None = REFERENCE,
    labels: Tensor = LABELS,
) -> dict[str, Tensor]:
    kept = None if reference is None else Signals(reference)
    return Objective(stage, pair())(STUDENT, Batch(IMAGES, labels), teacher, kept, NOW)


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


def test_the_feature_reference_loss_is_what_is_worked_out_by_hand() -> None:
    """Two samples, two taps; squared distances per sample, over the mean square of the tap."""
    kept = torch.tensor([[[[3.0, 0.0]]], [[[0.0, 1.0]]]]), torch.tensor([[[[2.0]]], [[[0.0]]]])
    ours = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 4.0]]]]), torch.tensor([[[[1.0]]], [[[1.0]]]])
    weights = torch.tensor([0.5, 2.0])
    first = (0.5 * (2**2 / 2) + 2.0 * (3**2 / 2)) / 2 / ((9 + 1) / 4)
    second = (0.5 * 1 + 2.0 * 1) / 2 / (4 / 2)
    found = feature_reference_loss(ours, kept, weights)
    assert found.item() == pytest.approx(first + second)


def test_the_feature_reference_loss_does_not_depend_on_the_features_scale() -> None:
    ours, kept, weights = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4), torch.rand(2)
    found = feature_reference_loss((100 * ours,), (100 * kept,), weights)
    expected = feature_reference_loss((ours,), (kept,), weights)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("features", [(torch.randn(2, 3, 4, 4),), (torch.zeros(2, 1, 1, 1),), ()])
def test_equal_features_and_none_at_all_have_no_distance(features: tuple[Tensor, ...]) -> None:
    assert feature_reference_loss(features, features, torch.ones(2)).item() == 0.0


def test_the_feature_reference_loss_has_the_slope_that_it_says() -> None:
    student = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    kept, weights = torch.randn(3, 2, 2, 2, dtype=torch.float64), torch.rand(3).double()
    assert torch.autograd.gradcheck(
        lambda s: feature_reference_loss((s,), (kept,), weights), student
    )


def test_the_loss_is_the_published_sum() -> None:
    """λ_ce · CE + λ · KD + β · mean(TCP_i · τ² · KL(r_i/τ ‖ s_i/τ))."""
    kd = MethodSpec("kd", weight=0.7, settings={"temperature": 3.0})
    stage = Stage((kd,), ce_weight=0.2, reference_weight=0.5, reference_temperature=2.0)
    losses = losses_of(stage)
    probability = true_class_probability(TEACHER.logits, LABELS)
    expected = {
        "ce": 0.2 * F.cross_entropy(STUDENT.logits, LABELS),
        "kd": 0.7 * kd_loss(STUDENT.logits, TEACHER.logits, 3.0).mean(),
        "reference": 0.5 * reference_loss(STUDENT.logits, REFERENCE, probability, 2.0),
    }
    expected["loss"] = torch.stack(list(expected.values())).sum()
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value.item()), name


def test_mixed_images_are_learned_by_the_mean_over_their_classes() -> None:
    stage = Stage("kd", ce_weight=1.0, reference_weight=1.0, reference_temperature=2.0)
    losses = losses_of(stage, labels=MIXED)
    log_student, teacher = STUDENT.logits.log_softmax(1), TEACHER.logits.softmax(1)
    expected_ce = -(MIXED * log_student).sum(1).mean()
    divergences = kd_loss(STUDENT.logits, REFERENCE, 2.0)
    weights = [
        0.5 * teacher[0, 0] + 0.5 * teacher[0, 1],
        0.25 * teacher[1, 1] + 0.75 * teacher[1, 2],
    ]
    expected = sum(w * d for w, d in zip(weights, divergences, strict=True)) / 2
    assert losses["ce"].item() == pytest.approx(expected_ce.item())
    assert losses["reference"].item() == pytest.approx(expected.item())


def test_features_are_held_on_to_where_that_is_asked() -> None:
    ours, kept = torch.randn(2, 3, 2, 2), torch.randn(2, 3, 2, 2)
    reference = Signals(REFERENCE, (kept,))
    stage = Stage("kd", reference_feature_weight=0.3)
    batch = Batch(IMAGES, LABELS)
    losses = Objective(stage, pair())(
        STUDENT._replace(features=(ours,)), batch, TEACHER, reference, NOW
    )
    weights = true_class_probability(TEACHER.logits, LABELS)
    expected = 0.3 * feature_reference_loss((ours,), (kept,), weights)
    assert losses["reference features"].item() == pytest.approx(expected.item())
    parts = sum(losses[name].item() for name in ("ce", "kd", "reference", "reference features"))
    assert losses["loss"].item() == pytest.approx(parts)
    assert "reference features" not in losses_of(Stage("kd"))


def test_the_weighting_decides_where_the_student_holds_on() -> None:
    losses = {
        name: losses_of(Stage("kd", weighting=name))["reference"].item()
        for name in ("tcp", "inverse-tcp", "constant", "none")
    }
    assert losses["none"] == 0.0
    assert losses["tcp"] > 0
    assert losses["tcp"] != pytest.approx(losses["inverse-tcp"])
    assert losses["tcp"] + losses["inverse-tcp"] == pytest.approx(losses["constant"])


def test_weightings_of_mean_one_differ_in_where_they_hold_on_alone() -> None:
    """Two samples, so w = 2 · TCP_i / (TCP_1 + TCP_2); the same divergences under all of them."""
    divergences = kd_loss(STUDENT.logits, REFERENCE, 4.0)
    probability = true_class_probability(TEACHER.logits, LABELS)
    for name, raw in (("tcp", probability), ("inverse-tcp", 1 - probability)):
        stage = Stage("kd", weighting=name, normalise_weighting=True, reference_weight=0.3)
        expected = 0.3 * (2 * raw / raw.sum() * divergences).mean()
        assert losses_of(stage)["reference"].item() == pytest.approx(expected.item())
    constant = Stage("kd", weighting="constant", reference_weight=0.3)
    assert losses_of(replace(constant, normalise_weighting=True)) == losses_of(constant)


def test_a_method_takes_its_own_weight_when_none_is_asked() -> None:
    losses = losses_of(Stage("kd"))
    expected = make_method(MethodSpec("kd")).default_weight * kd_loss(
        STUDENT.logits, TEACHER.logits, 4.0
    )
    assert losses["kd"].item() == pytest.approx(expected.mean().item())


PUBLISHED = {  # (cross-entropy, method), as their papers or the field's benchmarks weigh them
    "at": (1, 1000), "crd": (1, 0.8), "dkd": (1, 1), "fitnet": (1, 100), "kd": (0.1, 0.9),
    "kdsvd": (1, 1), "logit-std": (0.1, 9), "mse": (0, 1), "nst": (1, 50), "ofd": (1, 0.001),
    "pkt": (1, 30000), "reviewkd": (1, 1), "rkd": (1, 1), "sakd": (2, 1), "simkd": (0, 1),
    "sp": (1, 3000), "vid": (1, 1),
}  # fmt: skip


@pytest.mark.parametrize(("name", "weights"), PUBLISHED.items())
def test_a_method_by_itself_has_its_papers_whole_loss(
    name: str, weights: tuple[float, float]
) -> None:
    stage = spelled_out(Stage(name))
    assert (stage.ce_weight, stage.method_specs[0].weight) == weights
    assert spelled_out(stage) == stage


def test_kd_alone_is_a_tenth_cross_entropy_and_nine_tenths_kd() -> None:
    losses = losses_of(Stage("kd"), reference=None)
    expected = 0.1 * F.cross_entropy(STUDENT.logits, LABELS)
    expected += 0.9 * kd_loss(STUDENT.logits, TEACHER.logits, 4.0).mean()
    assert losses["loss"].item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("names", "weight"),
    [
        (["kd", "at"], 1.0),
        (["at", "kd"], 1.0),
        (["kd", "logit-std"], 0.1),
        (["mse", "kd"], 0.1),
        (["mse", "simkd"], 0.0),
        ([], 1.0),
    ],
)
def test_of_several_methods_the_one_with_the_largest_weight_of_the_labels_decides(
    names: list[str], weight: float
) -> None:
    stage = Stage(tuple(map(MethodSpec, names)))
    assert spelled_out(stage).ce_weight == weight


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_weights_that_are_given_stand(weight: float) -> None:
    stage = Stage((MethodSpec("kd", weight=weight),), ce_weight=weight)
    assert spelled_out(stage) == stage


def test_a_method_that_says_nothing_of_the_labels_has_them_beside_it_with_weight_one() -> None:
    assert (Method.default_ce_weight, Method.default_weight) == (1.0, 1.0)


def test_a_method_can_be_weighed_out() -> None:
    assert losses_of(Stage((MethodSpec("kd", weight=0.0),)))["kd"].item() == 0.0


def test_without_reference_and_teacher_the_labels_are_left() -> None:
    assert losses_of(Stage("kd"), reference=None).keys() == {"ce", "kd", "loss"}
    assert losses_of(Stage(), teacher=None, reference=None).keys() == {"ce", "loss"}


def test_several_methods_are_summed_under_their_names() -> None:
    kd, rkd = MethodSpec("kd", weight=1.0), MethodSpec("rkd", weight=2.0)
    student = STUDENT._replace(embedding=torch.randn(2, 4))
    teacher = TEACHER._replace(embedding=torch.randn(2, 5))
    batch = Batch(IMAGES, LABELS)
    losses = Objective(Stage((kd, rkd)), pair())(student, batch, teacher, None, NOW)
    assert losses.keys() == {"ce", "kd", "rkd", "loss"}
    parts = sum(losses[name].item() for name in ("ce", "kd", "rkd"))
    assert losses["loss"].item() == pytest.approx(parts)


def test_a_method_that_needs_one_class_refuses_mixed_images_in_one_line() -> None:
    objective = Objective(Stage("dkd"), pair())
    with pytest.raises(ModelMismatchError, match=r"'dkd' needs one true class .*mixed") as caught:
        objective(STUDENT, Batch(IMAGES, MIXED), TEACHER, None, NOW)
    assert "\n" not in str(caught.value)
    objective(STUDENT, Batch(IMAGES, LABELS), TEACHER, None, NOW)


def test_a_method_that_remembers_samples_refuses_batches_without_ids_in_one_line() -> None:
    crd = Stage((MethodSpec("crd", settings={"dims": 4, "negatives": 3}),))
    objective = Objective(crd, pair(samples=6))
    said = [signals._replace(embedding=torch.randn(2, 12)) for signals in (STUDENT, TEACHER)]
    expected = r"'crd' keeps a memory of every sample: .* \(images, labels, ids\)"
    with pytest.raises(ModelMismatchError, match=expected) as caught:
        objective(said[0], Batch(IMAGES, LABELS), said[1], None, NOW)
    assert "\n" not in str(caught.value)
    batch = Batch(IMAGES, LABELS, ids=torch.tensor([5, 0]))
    assert objective(said[0], batch, said[1], None, NOW)["crd"].isfinite()


def test_a_method_that_remembers_samples_must_know_how_many_there_are() -> None:
    with pytest.raises(
        ModelMismatchError, match=r"CRD keeps a memory of every sample: .*`samples`"
    ):
        Objective(Stage("crd"), pair(samples=None))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"temprature": 3.0}, "unknown setting of method 'kd' 'temprature', did you mean 'temper"),
        ({"weight": 3.0}, "unknown setting of method 'kd' 'weight'. Known: temperature"),
    ],
)
def test_an_unknown_setting_is_found_before_training(
    settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UnknownNameError, match=expected):
        make_method(MethodSpec("kd", settings=settings))


def test_an_unknown_weighting_is_found_before_training() -> None:
    with pytest.raises(UnknownNameError, match="unknown weighting 'tpc', did you mean 'tcp'"):
        Objective(Stage("kd", weighting="tpc"), pair())


def test_smoothed_labels_are_worked_out_by_hand() -> None:
    # A tenth of (1, 0) is spread over both: (0.95, 0.05), and −ln of the softmax is ln(1 + e∓1).
    logits, labels = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    expected = 0.95 * math.log1p(math.exp(-1)) + 0.05 * math.log1p(math.exp(1))
    assert label_loss(logits, labels, "ce", 0.1).item() == pytest.approx(expected)


def test_classes_by_themselves_are_worked_out_by_hand() -> None:
    # For truth (0.95, 0.05) and σ(1), σ(0): the mean over both classes.
    logits, labels = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    first = 0.95 * math.log1p(math.exp(-1)) + 0.05 * math.log1p(math.exp(1))
    expected = (first + math.log(2)) / 2
    assert label_loss(logits, labels, "bce", 0.1).item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["ce", "bce"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_classes_and_their_probabilities_are_one_and_the_same(kind, smoothing: float) -> None:
    certain = F.one_hot(LABELS, 3).float()
    losses = [label_loss(STUDENT.logits, labels, kind, smoothing) for labels in (LABELS, certain)]
    assert losses[0].item() == pytest.approx(losses[1].item())
    assert label_loss(STUDENT.logits, MIXED, kind, smoothing).isfinite()


def test_a_stage_takes_its_own_loss_of_the_labels() -> None:
    losses = losses_of(Stage("kd", ce_weight=2.0, label_loss="bce", label_smoothing=0.1))
    assert "ce" not in losses
    expected = 2 * label_loss(STUDENT.logits, LABELS, "bce", 0.1)
    assert losses["bce"].item() == pytest.approx(expected.item())
