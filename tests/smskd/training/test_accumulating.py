"""Several batches that make one optimizer step, and what a step hands on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from smskd import Engine, Listener, MethodSpec, Stage, distill, train_alone
from smskd.checkpoints.files import load_tensors
from smskd.evaluation import evaluate
from smskd.training.stage_files import WEIGHTS

Net = Callable[..., nn.Module]

CPU = Engine(accelerator="cpu")
CONSTANT: dict[str, Any] = {"epochs": 2, "lr": 0.1, "schedule": "constant"}


class Sliced:
    """The same images in the same order, in batches of a size."""

    def __init__(self, data: Any, count: int, size: int) -> None:
        self.images, self.labels, self.size = data.images[:count], data.labels[:count], size

    def __len__(self) -> int:
        return len(self.images.split(self.size))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self.images.split(self.size), self.labels.split(self.size), strict=True)


class Uncounted(Sliced):
    __len__ = None  # type: ignore[assignment]


class Miscounted(Sliced):
    """A loader that promises less than it gives."""

    def __len__(self) -> int:
        return super().__len__() // 2


class Steps(Listener):
    """Notes the student's weights after each batch."""

    def __init__(self, student: nn.Module) -> None:
        self.student = student
        self.weights: list[dict[str, Tensor]] = []

    def batch_done(self, batch: int, batches: int | None) -> None:
        self.weights.append(state(self.student))


class StoppedError(Exception):
    """Training is stopped from outside."""


class StopAfter(Listener):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def epoch_done(self, record: dict[str, Any]) -> None:
        self.done = record["epoch"]

    def batch_done(self, batch: int, batches: int | None) -> None:
        if getattr(self, "done", 0) == self.epoch:
            raise StoppedError


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_close(found: nn.Module, expected: nn.Module, tolerance: float = 1e-6) -> None:
    for name, tensor in expected.state_dict().items():
        assert torch.allclose(found.state_dict()[name], tensor, rtol=0, atol=tolerance), name


@pytest.mark.parametrize(
    "sizes",
    [(32, 4, 2), (32, 2, 4), (20, 4, 2), (28, 4, 3), (18, 4, 2), (8, 4, 4)],
    ids=["halves", "quarters", "a batch left", "of three, one left", "a short batch", "one step"],
)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_small_batches_together_are_one_large_batch(
    plain: Net, data: Any, tmp_path: Path, sizes: tuple[int, int, int], optimizer: Any
) -> None:
    count, size, accumulate = sizes
    parts, whole = plain(), plain()
    settings = {**CONSTANT, "optimizer": optimizer, "max_grad_norm": 0.5}
    if optimizer == "adamw":
        settings["lr"] = 0.01
    stage = Stage(accumulate=accumulate, **settings)
    metrics = train_alone(parts, Sliced(data, count, size), stage, tmp_path / "parts", engine=CPU)
    expected = train_alone(
        whole, Sliced(data, count, size * accumulate), Stage(**settings), tmp_path / "whole",
        engine=CPU,
    )  # fmt: skip
    assert_close(parts, whole)
    for ours, theirs in zip(metrics["history"], expected["history"], strict=True):
        # The loss of later batches is measured before, not after, the steps between them.
        assert ours["losses"]["ce"] == pytest.approx(theirs["losses"]["ce"], rel=1e-4)
    assert not torch.equal(parts.head.weight, plain().head.weight)


def test_the_rate_follows_the_schedule_step_by_step(plain: Net, data: Any, tmp_path: Path) -> None:
    parts, whole = plain(), plain()
    settings = {"epochs": 2, "lr": 0.1, "warmup_epochs": 1.0}
    train_alone(
        parts, Sliced(data, 32, 4), Stage(accumulate=2, **settings), tmp_path / "1", engine=CPU
    )
    train_alone(whole, Sliced(data, 32, 8), Stage(**settings), tmp_path / "2", engine=CPU)
    assert_close(parts, whole)


def test_distillation_accumulates_all_its_losses(plain: Net, data: Any, tmp_path: Path) -> None:
    """Teacher, method, reference and its features; all of them means over the images."""
    students = []
    for size, accumulate in ((8, 1), (4, 2)):
        students.append(plain())
        stages = [
            Stage("kd", accumulate=accumulate, **CONSTANT),
            Stage("at", accumulate=accumulate, **{**CONSTANT, "lr": 0.01}),
        ]
        folder = tmp_path / str(size)
        distill(plain(width=6, seed=1), students[-1], Sliced(data, 32, size), stages, folder,
                engine=CPU)  # fmt: skip
    assert_close(*students, tolerance=1e-5)


def test_the_student_stands_still_between_the_steps(plain: Net, data: Any, tmp_path: Path) -> None:
    student = plain()
    listener = Steps(student)
    stage = Stage(epochs=1, lr=0.1, accumulate=2)
    train_alone(student, Sliced(data, 20, 4), stage, tmp_path, engine=CPU, listener=listener)
    weights = [state(plain()), *listener.weights]
    moved = [
        not torch.equal(before["head.weight"], after["head.weight"])
        for before, after in pairwise(weights)
    ]
    assert moved == [False, True, False, True, True]


def test_an_epoch_of_unknown_length_ends_in_a_step_of_what_is_left(
    plain: Net, data: Any, tmp_path: Path
) -> None:
    students = [plain(), plain()]
    for kind, student in zip((Sliced, Uncounted), students, strict=True):
        stage = Stage(accumulate=3, **CONSTANT)
        folder = tmp_path / kind.__name__
        train_alone(student, kind(data, 28, 4), stage, folder, engine=CPU)
    assert_close(*students)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loader_that_gives_more_than_it_says_trains_to_the_end(
    plain: Net, data: Any, tmp_path: Path, accumulate: int
) -> None:
    student = plain()
    stage = Stage(accumulate=accumulate, **CONSTANT)
    metrics = train_alone(student, Miscounted(data, 32, 4), stage, tmp_path, engine=CPU)
    assert len(metrics["history"]) == 2


def running_mean(
    net: Net, data: Any, stage: dict[str, Any], decay: float, folder: Path
) -> tuple[dict[str, Tensor], nn.Module]:
    """By hand, from the student's weights after each step; and the student itself."""
    student = net()
    listener = Steps(student)
    train_alone(student, Sliced(data, 20, 4), Stage(**stage), folder, engine=CPU, listener=listener)
    every = stage.get("accumulate", 1)
    count = 5
    steps = [
        weights for number, weights in enumerate(listener.weights)
        if (number % count) % every == every - 1 or number % count == count - 1
    ]  # fmt: skip
    mean = dict(steps[0])
    for weights in steps[1:]:
        for name, _ in student.named_parameters():
            mean[name] = decay * mean[name] + (1 - decay) * weights[name]
    return mean | dict(student.named_buffers()), student


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_stage_hands_on_the_running_mean_of_its_steps(
    net: Net, data: Any, tmp_path: Path, accumulate: int
) -> None:
    settings = {**CONSTANT, "accumulate": accumulate}
    mean, student = running_mean(net, data, settings, 0.8, tmp_path / "plain")
    averaged = net()
    stage = Stage(ema_decay=0.8, **settings)
    metrics = train_alone(
        averaged, Sliced(data, 20, 4), stage, tmp_path / "mean", validation=data, engine=CPU
    )
    found = state(averaged)
    assert found.keys() == mean.keys()
    for name, tensor in mean.items():
        assert torch.allclose(found[name], tensor, atol=1e-6), name
    assert not torch.allclose(found["head.weight"], student.head.weight, atol=1e-4)
    saved, _ = load_tensors(tmp_path / "mean" / WEIGHTS)
    assert all(torch.equal(saved[name], found[name]) for name in found)
    assert metrics["last"]["val_top1"] == evaluate(averaged, data)["top1"]
    assert metrics["history"][-1]["val_loss"] == pytest.approx(evaluate(averaged, data)["loss"])


def test_the_best_epochs_running_mean_is_handed_on(net: Net, data: Any, tmp_path: Path) -> None:
    """The validation labels are wrong, so that the student grows worse by them as it learns."""
    wrong = [(images, (labels + 1) % 3) for images, labels in data]
    student = net()
    stage = Stage(epochs=6, lr=0.1, schedule="constant", keep="best", ema_decay=0.5)
    metrics = train_alone(student, data, stage, tmp_path, validation=wrong, engine=CPU)
    assert metrics["best"]["epoch"] < 6
    assert evaluate(student, wrong)["top1"] == metrics["best"]["val_top1"]


def test_the_next_stage_starts_from_the_running_mean_and_is_anchored_at_it(
    plain: Net, data: Any, tmp_path: Path
) -> None:
    """At a rate of almost nothing it stays there, at no distance from its reference."""
    student = plain()
    stages = [
        Stage("kd", epochs=2, lr=0.1, ema_decay=0.9),
        Stage("kd", epochs=1, lr=1e-12, reference_feature_weight=1.0),
    ]
    _, second = distill(plain(width=6, seed=1), student, data, stages, tmp_path, engine=CPU)
    handed_on, _ = load_tensors(tmp_path / "1-kd" / WEIGHTS)
    found = state(student)
    assert all(torch.allclose(found[name], handed_on[name], atol=1e-9) for name in found)
    losses = second["history"][0]["losses"]
    assert losses["reference"] == pytest.approx(0, abs=1e-6)
    assert losses["reference features"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_running_mean_is_taken_up_where_it_stood(
    net: Net, data: Any, tmp_path: Path, accumulate: int
) -> None:
    stage = Stage(epochs=4, lr=0.1, ema_decay=0.8, accumulate=accumulate)
    with pytest.raises(StoppedError):
        train_alone(net(), data, stage, tmp_path / "a", engine=CPU, listener=StopAfter(2))
    stopped, whole = net(seed=5), net()
    train_alone(stopped, data, stage, tmp_path / "a", engine=CPU)
    train_alone(whole, data, stage, tmp_path / "b", engine=CPU)
    found, expected = state(stopped), state(whole)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_method_that_learns_is_not_averaged(plain: Net, data: Any, tmp_path: Path) -> None:
    """Only the student is handed on; the method goes with the last step's weights."""
    learned = []
    for decay in (None, 0.9):
        stage = Stage(
            (MethodSpec("mgd", settings={"mask_ratio": 0.0}),), epochs=1, lr=0.01, ema_decay=decay
        )
        folder = tmp_path / str(decay)
        distill(plain(width=6, seed=1), plain(), data, [stage], folder, engine=CPU)
        learned.append(load_tensors(folder / "1-mgd" / "method.safetensors")[0])
    assert learned[0].keys() == learned[1].keys()
    assert all(torch.equal(learned[0][name], learned[1][name]) for name in learned[0])


def off_the_span(vectors: Tensor, span: Tensor) -> float:
    """How far columns lie from the space of another matrix's columns, relative to their length."""
    inside = span @ torch.linalg.lstsq(span, vectors).solution
    return ((vectors - inside).norm() / vectors.norm()).item()


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_running_mean_ends_in_the_teachers_classifier_where_the_student_does(
    plain: Net, data: Any, tmp_path: Path, keep: str
) -> None:
    """Whatever the projector is, the folded classifier's columns are made of the teacher's two."""
    teacher, student = plain(width=1, seed=1), plain()
    stage = Stage("simkd", epochs=3, lr=0.05, ema_decay=0.8, keep=keep)
    (metrics,) = distill(
        teacher, student, data, [stage], tmp_path, validation=data, engine=CPU
    )  # fmt: skip
    theirs = teacher.head.weight.detach()
    assert off_the_span(student.head.weight.detach(), theirs) < 1e-5
    bias = (student.head.bias - teacher.head.bias).detach()
    assert off_the_span(bias.unsqueeze(1), theirs) < 1e-4
    assert evaluate(student, data)["top1"] == metrics[keep]["val_top1"]


def test_the_running_mean_of_what_is_folded_is_taken_up_where_it_stood(
    plain: Net, data: Any, tmp_path: Path
) -> None:
    stages, teacher = [Stage("simkd", epochs=3, lr=0.05, ema_decay=0.8)], plain(width=6, seed=1)
    with pytest.raises(StoppedError):
        distill(
            teacher, plain(), data, stages, tmp_path / "a", engine=CPU, listener=StopAfter(2)
        )  # fmt: skip
    stopped, whole = plain(seed=5), plain()
    distill(teacher, stopped, data, stages, tmp_path / "a", engine=CPU)
    distill(teacher, whole, data, stages, tmp_path / "b", engine=CPU)
    found, expected = state(stopped), state(whole)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
