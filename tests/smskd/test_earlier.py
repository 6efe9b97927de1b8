"""Methods of earlier stages: they hold the reference, or are kept at a fraction."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from foundation.errors import ModelMismatchError, UnknownNameError
from smskd import Batch, Engine, Listener, MethodSpec, Stage, distill, retention_matrix
from smskd.checkpoints.files import load_tensors
from smskd.distillation import pair_on
from smskd.earlier import carried_specs, check_held, held_specs
from smskd.features.signals import Signals
from smskd.methods import METHODS, Progress
from smskd.methods.at import at_loss
from smskd.objective import EarlierMethod, Objective
from smskd.pair import make_pair
from smskd.training.stage_files import METHOD, WEIGHTS
from smskd.weightings import true_class_probability

Net = Callable[..., nn.Module]

CPU = Engine(accelerator="cpu")
NOW = Progress(0, 1)


class StoppedError(Exception):
    """Training was stopped, as if killed."""


class StopInThird(Listener):
    """Stops the last of three stages in its second epoch."""

    def __init__(self) -> None:
        self.stages = self.batches = 0

    def stage_started(self, name: str, epochs: int, done: int) -> None:
        self.stages += 1

    def batch_done(self, batch: int, batches: int | None) -> None:
        self.batches += self.stages == 3
        if self.batches == 6:
            raise StoppedError


def test_the_reference_is_held_by_the_methods_of_the_stage_before_with_their_weights() -> None:
    at = MethodSpec("at", weight=500.0, settings={"power": 3.0})
    stages = [
        Stage((at,)),
        Stage((MethodSpec("kd"), MethodSpec("rkd")), reference_methods="previous"),
        Stage("sp", reference_methods="previous"),
        Stage("kd", reference_methods=("at", "mse", "kd")),
    ]
    assert held_specs(stages, 0) == []
    assert held_specs(stages, 1) == [at]
    assert [(spec.name, spec.weight) for spec in held_specs(stages, 2)] == [("kd", 0.9), ("rkd", 1)]
    # The third names methods: the last stage that has one says how; no stage has mse.
    assert held_specs(stages, 3) == [at, MethodSpec("mse", 1.0), MethodSpec("kd", 0.9)]


@pytest.mark.parametrize(
    "settings", [{}, {"reference_methods": "previous", "weighting": "none"},
                 {"reference_methods": "previous", "reference_weight": 0.0}],
)  # fmt: skip
def test_without_a_word_or_without_a_reference_no_method_holds_it(settings: dict[str, Any]) -> None:
    assert held_specs([Stage("at"), Stage("kd", **settings)], 1) == []


@pytest.mark.parametrize(
    ("stages", "error", "words"),
    [
        ([Stage("crd"), Stage("kd", reference_methods="previous")], ModelMismatchError,
         "stage 2 .kd. cannot hold its reference by 'crd', which gives no loss for each sample"),
        ([Stage(), Stage("kd", reference_methods="previous")], ModelMismatchError,
         "methods of the stage before, which has none"),
        ([Stage("at"), Stage("kd", reference_methods=("fitnet",))], ModelMismatchError,
         "compares what it learnt, and no stage before has it"),
        ([Stage("at"), Stage("kd", reference_methods=("att",))], UnknownNameError,
         "'att', did you mean 'at'"),
    ],
)  # fmt: skip
def test_what_cannot_hold_a_reference_is_told_of_before_any_training(
    stages: list[Stage], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as refused:
        check_held(stages)
    assert "\n" not in str(refused.value)


def test_the_loss_of_the_reference_is_the_methods_own_weighed_by_sample() -> None:
    """β · λ · mean_i(w_i · L_i), with w_i = TCP_i."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(32, 3))
    images, labels = torch.randn(2, 1, 4, 4), torch.tensor([0, 2])
    stage = Stage("kd", reference_weight=0.3, reference_methods="previous")
    pair = make_pair(network, network, images, taps=(["0"], ["0"]))
    held = [EarlierMethod(MethodSpec("at", weight=200.0), {})]
    ours, kept = torch.randn(2, 2, 2, 4, 4)
    teacher = Signals(torch.randn(2, 3), (ours,))
    student = Signals(torch.randn(2, 3), (ours,))
    reference = Signals(torch.randn(2, 3), (kept,))
    losses = Objective(stage, pair, held=held)(
        student, Batch(images, labels), teacher, reference, NOW
    )
    weights = true_class_probability(teacher.logits, labels)
    expected = 0.3 * 200.0 * (weights * at_loss(ours, kept, 2.0)).mean()
    assert losses["reference at"].item() == pytest.approx(expected.item())
    assert "reference" not in losses
    parts = [losses[name] for name in ("ce", "kd", "reference at")]
    assert losses["loss"].item() == pytest.approx(sum(parts).item())


def test_holding_attention_keeps_it_better_than_holding_logits(
    plain: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    """How far attention has moved after a stage of KD, against the student before it."""
    moved = {}
    for methods in ((), "previous"):
        student, folder = plain(), tmp_path / str(methods)
        second = Stage(
            "kd", 6, reference_weight=1.0, weighting="constant", reference_methods=methods, lr=0.02
        )
        distill(teacher, student, data, [Stage("at", 2), second], folder, engine=CPU)
        pair = pair_on(teacher, student, data)
        with torch.no_grad():
            after = pair.student(data.images)
            student.load_state_dict(load_tensors(folder / "1-at" / WEIGHTS)[0])
            before = pair.student(data.images)
        moved[methods] = sum(
            at_loss(ours, kept, 2.0).mean().item()
            for ours, kept in zip(after.features, before.features, strict=True)
        )
    assert moved["previous"] < 0.7 * moved[()]


THREE = [
    Stage("fitnet", 2, lr=0.01),
    Stage((MethodSpec("kd"),), 2, reference_methods="previous", lr=0.01),
    Stage("rkd", 2, reference_methods=("fitnet", "kd"), lr=0.01),
]


def test_what_holds_the_reference_is_at_rest_and_as_its_stage_left_it(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    with pytest.raises(StoppedError):
        distill(teacher, net(), data, THREE, tmp_path, engine=CPU, listener=StopInThird())
    learned = load_tensors(tmp_path / "1-fitnet" / METHOD)[0]
    state = load_tensors(tmp_path / "3-rkd" / "resume.safetensors")[0]
    for name, tensor in learned.items():
        held = state[f"step.objective.holding.{name.removeprefix('methods.')}"]
        assert torch.equal(held, tensor), name
    assert not (tmp_path / "2-kd" / METHOD).exists()  # it learnt nothing of its own


@pytest.mark.parametrize("stages", [
    THREE,
    [THREE[0], Stage("kd", 2, carry=0.2, lr=0.01), Stage("rkd", 2, carry=0.2, lr=0.01)],
    [THREE[0], Stage("kd", 2, carry=0.2, schedule="shared"),
     Stage("rkd", 2, carry=0.2, schedule="shared", reference_methods=("fitnet",))],
], ids=["held", "carried", "all on one schedule"])  # fmt: skip
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    stages: list[Stage], net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    whole, stopped = net(), net()
    distill(teacher, whole, data, stages, tmp_path / "whole", engine=CPU)
    with pytest.raises(StoppedError):
        distill(teacher, net(), data, stages, tmp_path / "s", engine=CPU, listener=StopInThird())
    distill(teacher, stopped, data, stages, tmp_path / "s", engine=CPU)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(stopped.state_dict()[name], tensor), name


def test_a_stage_keeps_all_methods_before_it_at_a_fraction_of_their_own_weights() -> None:
    stages = [
        Stage((MethodSpec("at", weight=500.0), MethodSpec("kd"))),
        Stage((MethodSpec("kd", weight=0.5),), carry=0.2),
        Stage("rkd", carry=0.1),
        Stage("sp"),
    ]
    kept = [[(s.name, s.weight) for s in carried_specs(stages, place)] for place in range(4)]
    assert kept == [
        [],
        [("at", 100.0)],
        [("at", 50.0), ("kd", pytest.approx(0.05))],
        [],
    ]


def test_a_stage_that_keeps_earlier_methods_has_a_name_of_its_own() -> None:
    assert Stage("kd", carry=0.2).name == "kd+carried"


def test_kept_methods_go_on_with_what_they_learnt_and_stand_in_the_loss(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    """At a rate of nearly nought nothing moves any more."""
    still = {"lr": 1e-12, "weight_decay": 0.0, "momentum": 0.0, "epochs": 1}
    stages = [Stage("fitnet", 2, lr=0.01), Stage("kd", carry=0.2, **still)]
    results = distill(teacher, net(), data, stages, tmp_path, engine=CPU)
    before = load_tensors(tmp_path / "1-fitnet" / METHOD)[0]
    after = load_tensors(tmp_path / "2-kd+carried" / METHOD)[0]
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        if "running" not in name and "tracked" not in name:
            assert torch.allclose(after[name], tensor), name
    first, second = (metrics["history"][-1]["losses"] for metrics in results)
    assert list(second) == ["ce", "kd", "fitnet", "reference", "loss"]
    assert second["fitnet"] == pytest.approx(0.2 * first["fitnet"], rel=0.5)
    assert results[1]["stage"]["carry"] == 0.2


@pytest.mark.parametrize("name", METHODS.names())
def test_any_method_can_be_a_stage_on_one_schedule_and_be_kept_in_the_next(
    name: str, net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    data.numbered = True
    shared = {"lr": None, "schedule": "shared", "carry": 0.2}
    stages = [Stage(name, 1, lr=0.01), Stage("kd", 1, **shared), Stage(name, 1)]
    if name == "kd":
        stages[1] = Stage("mse", 1, **shared)
    results = distill(teacher, net(), data, stages, tmp_path, engine=CPU)
    assert name in results[1]["history"][0]["losses"]
    for metrics in results:
        assert math.isfinite(metrics["history"][0]["losses"]["loss"])
        assert "reference" in metrics["history"][0]["losses"] or metrics["index"] == 1


def test_a_stage_is_measured_by_its_own_methods_and_not_by_what_it_keeps(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    stages = [Stage("fitnet", 1, lr=0.01), Stage("kd", 1, carry=0.5, lr=0.01)]
    student = net()
    distill(teacher, student, data, stages, tmp_path, engine=CPU)
    matrix = retention_matrix(pair_on(teacher, student, data), stages, tmp_path, data, CPU)
    assert matrix["stages"] == ["1-fitnet", "2-kd+carried"]
    alone = retention_matrix(pair_on(teacher, student, data), stages, tmp_path, data, CPU)
    assert alone == matrix
    assert matrix["loss"][1][1] < matrix["loss"][0][1]  # KD's alone, beside a hint's hundredfold


def test_what_was_learnt_of_another_student_is_refused(net: Net, data: Any) -> None:
    pair = make_pair(net(), net(seed=1, width=6), data.images[:2])
    stranger = EarlierMethod(MethodSpec("fitnet", 1.0), {"regressors.0.0.weight": torch.ones(1)})
    with pytest.raises(ModelMismatchError, match="what that learnt does not fit the student"):
        Objective(Stage("kd", carry=0.1), pair, [stranger])


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"carry": 1.5}, "carry must lie from 0 to 1"),
     ({"quantize": "int8", "carry": 0.1}, "hears logits alone, but got carry=0.1"),
     ({"quantize": "int8", "reference_methods": "previous"}, "hears logits alone")],
)  # fmt: skip
def test_impossible_values_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Stage("kd", **settings)


def test_the_first_stage_has_nothing_to_keep(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="no stage before it whose methods it could keep"):
        distill(teacher, net(), data, [Stage("kd", carry=0.2)], tmp_path, engine=CPU)
