from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from foundation.errors import ModelMismatchError
from smskd.batch import Batch
from smskd.methods import Progress
from smskd.methods.simkd import SimKD, simkd_loss
from smskd.pair import Pair, make_pair

START = Progress(0, 1)
IMAGES = torch.randn(6, 3, 2, 2)


def network(width: int, bias: bool = True) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, width), nn.ReLU(), nn.Linear(width, 5, bias))


def built(student: nn.Module, teacher: nn.Module) -> tuple[SimKD, Pair]:
    pair = make_pair(student, teacher, IMAGES)
    method = SimKD()
    method.build(pair)
    return method, pair


def loss_of(method: SimKD, pair: Pair) -> Tensor:
    with torch.no_grad():
        teacher = pair.teacher(IMAGES)
    return method(pair.student(IMAGES), teacher, Batch(IMAGES, torch.zeros(6)), START)


def test_the_loss_is_what_is_worked_out_by_hand() -> None:
    projected, teacher = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[2.0, 5.0]] * 2)
    assert simkd_loss(projected, teacher).tolist() == [(1 + 9) / 2, (4 + 25) / 2]


def test_a_student_that_sees_what_the_teacher_sees_has_nothing_to_learn() -> None:
    teacher = network(4)
    method, pair = built(teacher, teacher)
    nn.init.eye_(method.projector.weight)
    nn.init.zeros_(method.projector.bias)
    assert loss_of(method, pair).item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("ours", "theirs"), [(True, True), (True, False), (False, False)])
def test_the_students_classifier_becomes_the_teachers_behind_the_projector(
    ours: bool, theirs: bool
) -> None:
    torch.manual_seed(0)
    student, teacher = network(4, ours), network(7, theirs)
    method, pair = built(student, teacher)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    method.after_epoch()
    with torch.no_grad():
        projected = method.projector(pair.student(IMAGES).embedding)
        assert torch.allclose(student(IMAGES), teacher[3](projected), atol=1e-6)
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert student[3].weight.shape == (5, 4)
    assert student[3].weight.requires_grad


def test_a_student_that_has_learnt_the_embedding_says_what_the_teacher_says() -> None:
    torch.manual_seed(0)
    student, teacher = network(16), network(3)
    method, pair = built(student, teacher)
    optimizer = torch.optim.Adam([*student.parameters(), *method.parameters()], lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        loss_of(method, pair).backward()
        optimizer.step()
    method.after_epoch()
    with torch.no_grad():
        assert torch.allclose(student(IMAGES), teacher(IMAGES), atol=0.05)


def test_the_fold_follows_from_the_saved_state_alone() -> None:
    torch.manual_seed(0)
    student, teacher = network(4), network(7)
    method, _ = built(student, teacher)
    method.after_epoch()
    folded = student[3].weight.clone()
    other_student = network(4)
    again, _ = built(other_student, teacher)
    again.load_state_dict(method.state_dict())
    again.after_epoch()
    assert torch.equal(other_student[3].weight, folded)
    again.after_epoch()
    assert torch.equal(other_student[3].weight, folded)


def test_only_the_projector_is_learnt_and_saved() -> None:
    method, _ = built(network(4), network(7))
    assert set(method.state_dict()) == {"projector.weight", "projector.bias"}
    assert {name for name, _ in method.named_parameters()} == set(method.state_dict())


def test_a_student_without_a_bias_cannot_take_the_teachers() -> None:
    with pytest.raises(ModelMismatchError, match="has no bias to take the teacher's") as raised:
        built(network(4, bias=False), network(7))
    assert "\n" not in str(raised.value)


def test_a_transformer_takes_over_a_convolutional_networks_classifier(
    pair_of: Callable[[str, str], Pair], batch: Batch
) -> None:
    pair = pair_of("vit", "cnn")
    method = SimKD()
    method.build(pair)
    method.after_epoch()
    said = pair.student(batch.images)
    expected = pair.teacher.classifier(method.projector(said.embedding))
    assert torch.allclose(said.logits, expected, atol=1e-6)
