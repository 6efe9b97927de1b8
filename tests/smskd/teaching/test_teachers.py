"""How often, and how, teacher and reference are asked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from smskd import Batch, Engine, MethodSpec, Stage, distill, evaluate, train_alone
from smskd.checkpoints.files import load_tensors
from smskd.features.taps import TappedModel
from smskd.teaching.teachers import ask_live
from smskd.training.stage_files import WEIGHTS

Net = Callable[..., nn.Module]

CPU = Engine(accelerator="cpu")
# One stage of each kind of need: logits, features, embeddings, memories.
STAGES = [
    Stage((MethodSpec("kd"), MethodSpec("crd", settings={"negatives": 4})), epochs=1),
    Stage((MethodSpec("at"), MethodSpec("rkd")), epochs=2, lr=0.01, reference_feature_weight=0.1),
    Stage("dkd", epochs=1, weighting="none"),
]


class Pass(NamedTuple):
    network: nn.Module
    inference: bool
    training: bool
    images: Tensor


class Noting(nn.Module):
    """A network of which each pass is noted, and each pass of its copies."""

    passes: list[Pass]

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        inference = torch.is_inference_mode_enabled()
        Noting.passes.append(Pass(self, inference, self.training, images.clone()))
        return self.inner(images)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


@pytest.fixture
def noted(net: Net, teacher: nn.Module, data: Any, tmp_path: Path) -> tuple[list[Pass], ...]:
    """Three stages; the passes of teacher, student and references while they train."""
    data.numbered = True
    Noting.passes = []
    first, second = Noting(teacher), Noting(net())
    distill(first, second, data, STAGES, tmp_path, engine=CPU)
    # What looks at the networks beforehand sees two images.
    training = [one for one in Noting.passes if len(one.images) > 2]
    teachers = [one for one in training if one.network is first]
    students = [one for one in training if one.network is second]
    return teachers, students, [one for one in training if one.network not in (first, second)]


def test_the_teacher_is_asked_once_for_each_batch_under_inference_mode(
    noted: tuple[list[Pass], ...], data: Any
) -> None:
    teachers, students, _ = noted
    assert len(teachers) == len(students) == 4 * len(data)
    assert all(one.inference and not one.training for one in teachers)
    assert all(one.training and not one.inference for one in students)
    for theirs, ours in zip(teachers, students, strict=True):
        assert torch.equal(theirs.images, ours.images)


def test_the_reference_is_asked_once_for_each_batch_under_inference_mode(
    noted: tuple[list[Pass], ...], data: Any
) -> None:
    """The second stage alone has one: the first has none before it, the third wants none."""
    _, students, references = noted
    batches = len(data)
    assert len(references) == 2 * batches
    assert all(one.inference and not one.training for one in references)
    assert len({id(one.network) for one in references}) == 1
    asked = students[batches : 3 * batches]
    for reference, ours in zip(references, asked, strict=True):
        assert torch.equal(reference.images, ours.images)


def test_the_teacher_is_bit_for_bit_what_it_was_and_the_reference_says_what_the_student_said(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    data.numbered = True
    Noting.passes = []
    before = state(teacher)
    student = Noting(net())
    distill(teacher, student, data, STAGES, tmp_path, validation=data, engine=CPU)
    assert same(state(teacher), before)
    (reference,) = {id(p.network): p.network for p in Noting.passes if p.inference and
                    p.network is not student}.values()  # fmt: skip
    student.load_state_dict(load_tensors(tmp_path / "1-kd+crd" / WEIGHTS)[0])
    for images, *_ in data:
        with torch.no_grad():  # its batch norms are folded into its convolutions
            assert torch.allclose(reference(images), student.eval()(images), rtol=1e-4, atol=1e-6)
    assert all(p.grad is None and not p.requires_grad for p in reference.parameters())


def test_a_teacher_with_images_of_its_own_sees_those(net: Net, data: Any, tmp_path: Path) -> None:
    """A teacher that takes no other size than 16 pixels; with SAKD's second pass through both."""
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()]
    teacher = Noting(nn.Sequential(*layers, nn.Linear(4 * 64, 3)))
    batches = [
        Batch(images, labels, teacher_images=images.repeat(1, 1, 2, 2)) for images, labels in data
    ]
    Noting.passes = []
    stages = [Stage("at", epochs=1), Stage("sakd", epochs=1, lr=0.01)]
    distill(teacher, net(), batches, stages, tmp_path, engine=CPU)
    assert len(Noting.passes) > 3 * len(data)
    assert {tuple(one.images.shape[1:]) for one in Noting.passes} == {(1, 16, 16)}


def test_a_library_user_needs_ten_lines(tmp_path: Path) -> None:
    """With a plain DataLoader, networks of his own, and nothing else of ours."""
    images, labels = torch.randn(60, 1, 8, 8), torch.arange(60) % 3
    images += (labels - 1).view(-1, 1, 1, 1)
    loader = DataLoader(TensorDataset(images, labels), batch_size=16, shuffle=True)
    teacher = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3))
    student = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    train_alone(teacher, loader, Stage(epochs=5, lr=0.01), tmp_path / "teacher", engine=CPU)
    stages = [Stage(name, epochs=4, lr=0.01, max_grad_norm=1.0) for name in ("rkd", "at", "kd")]
    results = distill(teacher, student, loader, stages, tmp_path, engine=CPU)
    assert evaluate(student, loader)["top1"] > 0.8
    assert [len(metrics["history"]) for metrics in results] == [4, 4, 4]


def test_a_processor_is_asked_for_a_few_images_at_a_time(net: Net) -> None:
    """And says of each what it says of all together."""
    network, images = net().eval(), torch.randn(129, 1, 8, 8)
    Noting.passes = []
    tapped = TappedModel(Noting(network), ("inner.stem", "inner.body"), "inner.head")
    said = ask_live(tapped, images.to(memory_format=torch.channels_last), nullcontext)
    sizes = [len(one.images) for one in Noting.passes]
    assert len(sizes) > 1
    assert sum(sizes) == 129
    assert max(sizes) - min(sizes) <= 1
    with torch.no_grad():
        whole = TappedModel(network, ("stem", "body"), "head")(images)
    parts = [(*one.features, one.logits, one.embedding) for one in (said, whole)]
    for ours, theirs in zip(*parts, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)
        assert not ours.is_inference()
