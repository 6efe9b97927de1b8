"""How much of a stage is left after later ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from smskd import Engine, MethodSpec, Stage, distill, evaluate, retention_matrix
from smskd.checkpoints.files import load_model, load_tensors
from smskd.distillation import pair_on
from smskd.methods import Progress
from smskd.methods.fitnet import FitNet
from smskd.methods.kd import kd_loss
from smskd.pair import Pair
from smskd.training.stage_files import METHOD, WEIGHTS

Net = Callable[..., nn.Module]

CPU = Engine(accelerator="cpu")
STAGES = [
    Stage((MethodSpec("kd", weight=0.7, settings={"temperature": 3.0}),), epochs=2),
    Stage((MethodSpec("fitnet"), MethodSpec("kd", weight=0.5)), epochs=2, lr=0.01),
    Stage((MethodSpec("crd", settings={"negatives": 4}), MethodSpec("kd")), epochs=1, lr=0.01),
    Stage(epochs=1),
]
NAMES = ["1-kd", "2-fitnet+kd", "3-crd+kd", "4-labels"]


@pytest.fixture
def student(net: Net) -> nn.Module:
    return net()


@pytest.fixture
def pair(student: nn.Module, teacher: nn.Module, data: Any) -> Pair:
    return pair_on(teacher, student, data)


@pytest.fixture
def folder(pair: Pair, data: Any, tmp_path: Path) -> Path:
    """Four stages; and held-out batches of several sizes after them."""
    data.numbered = True
    distill(pair.teacher.model, pair.student.model, data, STAGES, tmp_path, engine=CPU)
    data.numbered, data.batch_size = False, 12
    data.images = data.images.flip(3)
    return tmp_path


def student_after(stage: int, net: Net, folder: Path) -> nn.Module:
    model = net(seed=9)
    load_model(folder / NAMES[stage] / WEIGHTS, model)
    return model.eval()


def logits(model: nn.Module, data: Any) -> Tensor:
    with torch.no_grad():
        return model.eval()(data.images)


def test_the_losses_are_what_is_measured_by_hand(
    net: Net, pair: Pair, teacher: nn.Module, data: Any, folder: Path
) -> None:
    """A stage's loss, after it and after every later one, with that one's student."""
    found = retention_matrix(pair, STAGES, folder, data, CPU)
    assert found["stages"] == NAMES
    theirs = logits(teacher, data)
    for after in range(4):
        ours = logits(student_after(after, net, folder), data)
        expected = 0.7 * kd_loss(ours, theirs, 3.0).mean().item()
        assert found["loss"][0][after] == pytest.approx(expected, rel=1e-4)
    assert len(set(found["loss"][0])) == 4


def test_a_methods_learnt_parts_are_those_that_its_stage_ended_with(
    net: Net, pair: Pair, teacher: nn.Module, data: Any, folder: Path
) -> None:
    found = retention_matrix(pair, STAGES, folder, data, CPU)
    fitnet = FitNet()
    fitnet.build(pair)
    learned = load_tensors(folder / NAMES[1] / METHOD)[0]
    fitnet.load_state_dict(
        {name.removeprefix("methods.fitnet."): tensor for name, tensor in learned.items()}
    )
    fitnet.eval()
    teacher.eval()
    for after in (1, 2, 3):
        model = student_after(after, net, folder)
        tapped = type(pair.student)(model, pair.student.taps, "head")
        with torch.no_grad():
            ours, theirs = tapped(data.images), pair.teacher(data.images)
            hint = fitnet(ours, theirs, None, Progress(2, 2))
            kd = kd_loss(ours.logits, theirs.logits, 4.0).mean()
        expected = fitnet.default_weight * hint + 0.5 * kd
        assert found["loss"][1][after] == pytest.approx(expected.item(), rel=1e-4)


def test_before_its_own_stage_a_loss_was_not_measured(pair: Pair, data: Any, folder: Path) -> None:
    loss = retention_matrix(pair, STAGES, folder, data, CPU)["loss"]
    measured = [[value is not None for value in row] for row in loss]
    memory, none = [False] * 4, [False] * 4
    assert measured == [[True] * 4, [False, True, True, True], memory, none]


def test_the_accuracy_is_that_of_the_student_after_each_stage(
    net: Net, pair: Pair, data: Any, folder: Path
) -> None:
    found = retention_matrix(pair, STAGES, folder, data, CPU)["top1"]
    expected = [evaluate(student_after(stage, net, folder), data)["top1"] for stage in range(4)]
    assert found == expected


def test_measured_again_it_is_the_same(pair: Pair, data: Any, folder: Path) -> None:
    """Also for methods that draw at random; and the caller's numbers stay his own."""
    stages = [*STAGES[:1], Stage((MethodSpec("mgd"), MethodSpec("sakd")), epochs=1, lr=0.001)]
    distill(pair.teacher.model, pair.student.model, data, stages, folder / "new", engine=CPU)
    before = torch.random.get_rng_state()
    first = retention_matrix(pair, stages, folder / "new", data, CPU)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.randn(3)
    assert retention_matrix(pair, stages, folder / "new", data, CPU) == first
    assert first["loss"][1][1] > 0


def test_what_is_measured_is_what_the_stages_left_whatever_the_student_is_now(
    pair: Pair, student: nn.Module, data: Any, folder: Path
) -> None:
    """Also by a method that runs the student itself."""
    stages = [Stage("sakd", epochs=1, lr=0.01)]
    distill(pair.teacher.model, student, data, stages, folder / "new", engine=CPU)
    before = retention_matrix(pair, stages, folder / "new", data, CPU)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert retention_matrix(pair, stages, folder / "new", data, CPU) == before


def test_both_networks_are_left_as_they_were(
    pair: Pair, student: nn.Module, teacher: nn.Module, data: Any, folder: Path
) -> None:
    student.train()
    with torch.no_grad():
        student.head.weight.add_(1)
    both = (student, teacher)
    before = [{name: t.clone() for name, t in one.state_dict().items()} for one in both]
    modes = [[module.training for module in one.modules()] for one in both]
    retention_matrix(pair, STAGES, folder, data, CPU)
    for one, was, mode in zip(both, before, modes, strict=True):
        assert all(torch.equal(tensor, was[name]) for name, tensor in one.state_dict().items())
        assert [module.training for module in one.modules()] == mode
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in one.modules())
