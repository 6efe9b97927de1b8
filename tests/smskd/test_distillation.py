"""The sequence of stages."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foundation.errors import (
    ModelMismatchError,
    TrainingError,
    UnknownNameError,
)
from smskd import Engine, Listener, MethodSpec, Stage, distill, stage_folder, train_alone
from smskd.checkpoints.files import load_tensors
from smskd.methods import METHODS
from smskd.training.stage_files import WEIGHTS

Net = Callable[..., nn.Module]

CPU = Engine(accelerator="cpu")
THREE = [Stage("kd", epochs=1), Stage("fitnet", epochs=1), Stage("rkd", epochs=1)]


class Trained(Listener):
    """Notes which stages were trained, and which were found done."""

    def __init__(self) -> None:
        self.trained: list[str] = []

    def stage_started(self, name: str, epochs: int, done: int) -> None:
        self.trained.append(name)


class Counted(nn.Module):
    """A network that notes which copies of it run: the student itself, and its references."""

    ran: list[nn.Module]

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        if not any(self is other for other in Counted.ran):
            Counted.ran.append(self)
        return self.inner(images)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def modes(model: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in model.named_modules()}


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("training", [True, False])
def test_the_teacher_is_left_as_it_was(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path, training: bool
) -> None:
    """Parameters, batch-norm statistics, modes, gradients; some teachers come half in training."""
    teacher.train(training)
    teacher.body[1].eval()
    before, before_modes = state(teacher), modes(teacher)
    data.numbered = True
    stages = [Stage(name, epochs=1) for name in METHODS.names()]
    distill(teacher, net(), data, stages, tmp_path, validation=data, engine=CPU)
    assert same(state(teacher), before)
    assert modes(teacher) == before_modes
    assert all(p.grad is None and p.requires_grad for p in teacher.parameters())


def test_the_teacher_does_not_depend_on_the_mode_it_comes_in(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    students = [net(), net()]
    for student, training in zip(students, (True, False), strict=True):
        folder = tmp_path / str(training)
        distill(teacher.train(training), student, data, THREE, folder, engine=CPU)
    assert same(state(students[0]), state(students[1]))


@pytest.mark.parametrize("training", [True, False])
def test_the_student_learns_and_gets_its_modes_back(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path, training: bool
) -> None:
    student = net().train(training)
    student.drop.train(not training)
    before, before_modes = state(student), modes(student)
    distill(teacher, student, data, THREE, tmp_path, validation=data, engine=CPU)
    assert modes(student) == before_modes
    assert not any(torch.equal(value, before[name]) for name, value in state(student).items())


def test_no_hook_is_left_in_either_network(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    student = net()
    distill(teacher, student, data, THREE, tmp_path, engine=CPU)
    for model in (teacher, student):
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_each_stage_leaves_a_folder_and_the_student_is_the_last_ones(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    student = net()
    results = distill(teacher, student, data, THREE, tmp_path, engine=CPU)
    assert [metrics["name"] for metrics in results] == ["kd", "fitnet", "rkd"]
    assert [metrics["index"] for metrics in results] == [1, 2, 3]
    names = {path.name: sorted(file.name for file in path.iterdir()) for path in tmp_path.iterdir()}
    plain = ["metrics.json", "weights.safetensors"]
    going_on = ["continuation.safetensors", *plain]  # for the next one on their schedule
    assert names == {
        "1-kd": going_on,
        "2-fitnet": sorted([*going_on, "method.safetensors"]),
        "3-rkd": plain,
    }
    assert same(load_tensors(tmp_path / "3-rkd" / WEIGHTS)[0], state(student))


def test_a_stages_folder_has_its_place_and_its_methods() -> None:
    assert stage_folder(2, Stage((MethodSpec("kd"), MethodSpec("at")))) == "2-kd+at"


def test_the_reference_holds_from_the_second_stage_on(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    stages = [Stage("kd", epochs=1), Stage("kd", epochs=1), Stage("kd", epochs=1, weighting="none")]
    results = distill(teacher, net(), data, stages, tmp_path, engine=CPU)
    losses = [metrics["history"][0]["losses"].keys() for metrics in results]
    assert ["reference" in names for names in losses] == [False, True, False]


@pytest.mark.parametrize(
    "case",
    [
        (Stage("at", epochs=1), True),
        (Stage("at", epochs=1, weighting="none"), False),
        (Stage("at", epochs=1, reference_weight=0.0), False),
    ],
)
def test_a_stage_without_a_reference_makes_no_pass_for_it(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path, case: tuple[Stage, bool]
) -> None:
    stage, anchored = case
    Counted.ran = []
    distill(teacher, Counted(net()), data, [Stage("kd", epochs=1), stage], tmp_path, engine=CPU)
    assert (len(Counted.ran) > 1) == anchored


def test_the_reference_is_the_student_of_the_stage_before(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    """At rate almost 0 the student stays where it starts, in evaluation mode at zero distance."""
    Counted.ran = []
    distill(teacher, Counted(net()), data, [Stage("kd", epochs=1)] * 2, tmp_path, engine=CPU)
    reference = state(Counted.ran[1])
    assert same(reference, load_tensors(tmp_path / "1-kd" / WEIGHTS)[0])


def test_a_strong_reference_keeps_the_student_near(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    moved = {}
    for weight in (0.0, 20.0):
        student, folder = net(), tmp_path / str(weight)
        first = Stage("kd", epochs=3, ce_weight=1.0)
        second = Stage(
            "kd", epochs=6, ce_weight=1.0, reference_weight=weight, weighting="constant", lr=0.01
        )
        distill(teacher, student, data, [first, second], folder, engine=CPU)
        start, _ = load_tensors(folder / "1-kd" / WEIGHTS)
        before = net()
        before.load_state_dict(start)
        with torch.no_grad():
            said = before.eval()(data.images), student.eval()(data.images)
        moved[weight] = nn.functional.mse_loss(*said).item()
    assert moved[20.0] < 0.5 * moved[0.0]


def test_called_again_it_finds_its_work_done(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    first, second, listener = net(), net(seed=9), Trained()
    distill(teacher, first, data, THREE, tmp_path, engine=CPU)
    distill(teacher, second, data, THREE, tmp_path, engine=CPU, listener=listener)
    assert listener.trained == []
    assert same(state(second), state(first))


def test_a_changed_stage_is_done_anew_with_all_that_follow_it(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    changed = [THREE[0], Stage("fitnet", epochs=1, ce_weight=0.5), THREE[2]]
    again, whole, listener = net(), net(), Trained()
    distill(teacher, net(), data, THREE, tmp_path / "one", engine=CPU)
    distill(teacher, again, data, changed, tmp_path / "one", engine=CPU, listener=listener)
    distill(teacher, whole, data, changed, tmp_path / "two", engine=CPU)
    assert listener.trained == ["fitnet", "rkd"]
    assert same(state(again), state(whole))


@pytest.mark.parametrize("what", ["teacher", "seed", "taps"])
def test_another_teacher_seed_or_tap_is_other_work(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path, what: str
) -> None:
    listener, settings = Trained(), {"seed": 0, "taps": (["stem", "body"], ["stem", "body"])}
    distill(teacher, net(), data, THREE[:1], tmp_path, engine=CPU, **settings)
    if what == "teacher":
        teacher.stem[1].running_mean += 0.1
    else:
        settings[what] = {"seed": 1, "taps": (["body"], ["body"])}[what]
    distill(teacher, net(), data, THREE[:1], tmp_path, engine=CPU, listener=listener, **settings)
    assert listener.trained == ["kd"]


FEATURE_METHODS = [name for name, method in METHODS.items() if "features" in method.needs]


@pytest.mark.parametrize("name", FEATURE_METHODS)
def test_features_cannot_be_compared_without_taps(
    name: str, net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    with pytest.raises(ModelMismatchError, match="student and teacher have no taps in common"):
        distill(teacher, net(), data, [Stage(name)], tmp_path, taps=([], []), engine=CPU)
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.parametrize("name", METHODS.names())
def test_a_network_of_vectors_learns_from_one_of_maps(
    name: str, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    data.numbered = True
    stage = Stage(name, epochs=1, max_grad_norm=1.0)
    (metrics,) = distill(teacher, mlp(), data, [stage], tmp_path, engine=CPU)
    assert math.isfinite(metrics["history"][0]["losses"]["loss"])


@pytest.mark.parametrize("name", METHODS.names())
def test_a_convolutional_network_learns_from_a_transformer(
    name: str, net: Net, vit: Net, data: Any, tmp_path: Path
) -> None:
    data.numbered = True
    stage = Stage(name, epochs=1, max_grad_norm=1.0)
    (metrics,) = distill(vit(), net(), data, [stage], tmp_path, engine=CPU)
    assert math.isfinite(metrics["history"][0]["losses"]["loss"])


def test_a_transformer_learns_from_a_convolutional_network(
    vit: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    student, stages = vit(), [Stage("kd", epochs=2), Stage("at", epochs=2), Stage("rkd", epochs=2)]
    before = state(student)
    distill(teacher, student, data, stages, tmp_path, engine=CPU)
    assert not any(torch.equal(value, before[name]) for name, value in state(student).items())


def test_a_student_of_another_class_count_is_refused_before_training(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    with pytest.raises(ModelMismatchError, match=r"logits have shape \(5,\), the teacher's \(3,\)"):
        distill(teacher, net(classes=5), data, THREE, tmp_path, engine=CPU)
    assert not list(tmp_path.iterdir())


def test_a_student_that_gives_no_logits_is_refused_with_named_taps_too(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    student = nn.Sequential(nn.Conv2d(1, 3, 3))
    for taps in (None, ([], [])):
        with pytest.raises(ModelMismatchError, match=r"must give logits .* shape \(2, 3, 6, 6\)"):
            distill(teacher, student, data, THREE, tmp_path, taps=taps, engine=CPU)


def test_an_unknown_tap_brings_up_the_nearest(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    taps = ["stemm"], ["stem"]
    with pytest.raises(UnknownNameError, match="unknown tap 'stemm', did you mean 'stem'"):
        distill(teacher, net(), data, THREE, tmp_path, taps=taps, engine=CPU)


def test_no_training_data_is_an_error(net: Net, teacher: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="gave no batch"):
        distill(teacher, net(), [], THREE, tmp_path, engine=CPU)


def test_training_alone_has_no_methods(net: Net, data: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without a teacher there are no methods, but got"):
        train_alone(net(), data, Stage("kd", epochs=1), tmp_path, engine=CPU)


def halve(model: nn.Module) -> None:
    """Take half of the features of `mlp` away, in place."""
    first, last = model[1], model[3]
    first.weight, first.bias = (nn.Parameter(p.data[:4].clone()) for p in first.parameters())
    last.weight = nn.Parameter(last.weight.data[:, :4].clone())
    first.out_features = last.in_features = 4


class Between:
    """Halves the student before the second stage; notes when it was called, and with whom."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, nn.Module]] = []

    def __call__(self, number: int, student: nn.Module) -> None:
        self.calls.append((number, student))
        if number == 2:
            halve(student)


def test_between_stages_the_student_may_change_its_shapes(
    teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    student, between = mlp(), Between()
    distill(
        teacher, student, data, THREE, tmp_path,
        taps=(["1"], ["stem"]), engine=CPU, between=between,
    )  # fmt: skip
    assert between.calls == [(2, student), (3, student)]
    widths = [
        load_tensors(tmp_path / stage_folder(number, stage) / WEIGHTS)[0]["1.bias"].shape[0]
        for number, stage in enumerate(THREE, start=1)
    ]
    assert widths == [8, 4, 4]
    learned = load_tensors(tmp_path / "2-fitnet/method.safetensors")[0].values()
    assert any(4 in tensor.shape[:2] for tensor in learned)  # built on the new shapes


def test_a_student_that_changed_its_shapes_is_taken_up_again(
    teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    students, notes = [mlp(), mlp()], Trained()
    students[1].load_state_dict(students[0].state_dict())
    for student in students:
        distill(
            teacher, student, data, [Stage("kd", epochs=1), Stage("rkd", epochs=1)], tmp_path,
            engine=CPU, between=Between(), listener=notes,
        )  # fmt: skip
    assert notes.trained == ["kd", "rkd"]
    assert same(*map(state, students))


def test_the_reference_is_the_student_before_it_changed(
    teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    Counted.ran = []
    student = nn.Sequential(*mlp())
    counted = Counted(student)
    distill(
        teacher, counted, data, THREE[:2], tmp_path, taps=(["inner.1"], ["stem"]), engine=CPU,
        between=lambda _number, changed: halve(changed.inner),
    )  # fmt: skip
    (reference,) = (one for one in Counted.ran if one is not counted)
    assert (reference.inner[1].out_features, student[1].out_features) == (8, 4)


def test_features_of_other_shapes_cannot_be_held_against_the_references(
    teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    stages = [Stage("kd", epochs=1), Stage("kd", epochs=1, reference_feature_weight=0.1)]
    with pytest.raises(ModelMismatchError, match="reference_feature_weight"):
        distill(
            teacher, mlp(), data, stages, tmp_path,
            taps=(["1"], ["stem"]), engine=CPU, between=Between(),
        )  # fmt: skip


def test_looking_at_the_validation_images_less_often_changes_nothing_but_the_curve(
    teacher: nn.Module, net: Net, data: list[Any], tmp_path: Path
) -> None:
    stages = [Stage("kd", epochs=3), Stage("rkd", epochs=2, keep="best")]
    often, seldom = [
        distill(
            teacher, net(), data, stages, tmp_path / str(every), validation=data, engine=CPU,
            validate_every=every,
        )
        for every in (1, 2)
    ]  # fmt: skip
    assert [metrics["weights_sha256"] for metrics in often] == [
        metrics["weights_sha256"] for metrics in seldom
    ]
    seen = [[record["val_top1"] for record in metrics["history"]] for metrics in often]
    assert [[record["val_top1"] for record in metrics["history"]] for metrics in seldom] == [
        [None, *seen[0][1:]],  # the last is always looked at
        seen[1],  # what keeps its best is looked at after each
    ]
