"""Stages that share one schedule are trained as one stage is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foundation.errors import CorruptFileError, ModelMismatchError
from smskd import Engine, Listener, MethodSpec, Stage, distill
from smskd.checkpoints.files import load_tensors
from smskd.training.stage_files import CONTINUATION, METHOD, WEIGHTS

Net = Callable[..., nn.Module]

CPU = Engine(accelerator="cpu")
RUN = {"schedule": "cosine", "lr": 0.05, "warmup_epochs": 1.5}


class StoppedError(Exception):
    """Training was stopped, as if killed."""


class StopAfter(Listener):
    """Stops a stage, counted from 1, behind a batch of an epoch."""

    def __init__(self, stage: int, batches: int) -> None:
        self.stage, self.batches = stage, batches

    def stage_started(self, name: str, epochs: int, done: int) -> None:
        self.stage -= 1

    def batch_done(self, batch: int, batches: int | None) -> None:
        if self.stage == 0:
            self.batches -= 1
            if self.batches == 0:
                raise StoppedError


def in_pieces(whole: Stage, *epochs: int) -> list[Stage]:
    """A stage as several on its schedule, that differ from it in nothing else."""
    first = replace(whole, epochs=epochs[0])
    left = dict.fromkeys(("lr", "warmup_epochs", "hold_epochs", "step_epochs"))
    left["schedule"] = "shared"
    return [first, *(replace(whole, epochs=count, **left) for count in epochs[1:])]


def weights_of(folder: Path, name: str) -> dict[str, Tensor]:
    return load_tensors(folder / name / WEIGHTS)[0]


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in second.items():
        assert torch.equal(first[name], tensor), name


@pytest.fixture
def without_chance(net: Net) -> nn.Module:
    """Batch norm, but no dropout, whose draws count from a stage's own start."""
    network = net()
    network.drop = nn.Identity()
    return network


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": "adamw", "lr": 0.01},
        {"optimizer": "lamb", "lr": 0.01},
        {"ema_decay": 0.8},
        {"ema_decay": 0.8, "ema_batch_norm": "anew"},
        {"accumulate": 3, "max_grad_norm": 1.0},
        {"schedule": "step", "step_epochs": 2},
        {"hold_epochs": 2.5},
        {"schedule": "linear", "norm_weight_decay": 0.0},
        {"methods": "fitnet", "lr": 0.01},
        {"methods": "simkd", "ema_decay": 0.8, "lr": 0.01},
        {"methods": "sp", "optimizer": "adamw", "ema_decay": 0.8, "lr": 0.01},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())) or "sgd",
)
def test_pieces_of_one_schedule_without_a_reference_come_to_the_very_weights_of_one_stage(
    settings: dict[str, Any], teacher: nn.Module, without_chance: nn.Module, data: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    whole = Stage(**{"methods": "kd", "epochs": 6, "weighting": "none", **RUN, **settings})
    start = {name: tensor.clone() for name, tensor in without_chance.state_dict().items()}
    distill(teacher, without_chance, data, [whole], tmp_path / "whole", engine=CPU)
    without_chance.load_state_dict(start)
    pieces = in_pieces(whole, 1, 3, 2)
    results = distill(teacher, without_chance, data, pieces, tmp_path / "pieces", engine=CPU)
    name = whole.name
    assert_same(
        weights_of(tmp_path / "pieces", f"3-{name}"), weights_of(tmp_path / "whole", f"1-{name}")
    )
    if (tmp_path / "whole" / f"1-{name}" / METHOD).exists():
        learnt = [load_tensors(tmp_path / where / METHOD)[0]
                  for where in (f"pieces/3-{name}", f"whole/1-{name}")]  # fmt: skip
        assert_same(*learnt)
    rates = [record["lr"] for metrics in results for record in metrics["history"]]
    assert rates == [whole_rate(whole, epoch) for epoch in range(6)]


def whole_rate(stage: Stage, epoch: int) -> float:
    from smskd.curve import curves_of  # noqa: PLC0415

    return curves_of([stage])[0].rate(epoch)


def test_with_schedules_of_their_own_the_pieces_come_to_other_weights(
    teacher: nn.Module, without_chance: nn.Module, data: Any, tmp_path: Path
) -> None:
    """So that the test above shows something."""
    whole = Stage("kd", epochs=6, weighting="none", **RUN)
    start = {name: tensor.clone() for name, tensor in without_chance.state_dict().items()}
    distill(teacher, without_chance, data, [whole], tmp_path / "whole", engine=CPU)
    without_chance.load_state_dict(start)
    restarts = [replace(whole, epochs=count) for count in (1, 3, 2)]
    distill(teacher, without_chance, data, restarts, tmp_path / "pieces", engine=CPU)
    assert not (tmp_path / "pieces" / "1-kd" / CONTINUATION).exists()
    found = weights_of(tmp_path / "pieces", "3-kd")
    expected = weights_of(tmp_path / "whole", "1-kd")
    assert not torch.equal(found["head.weight"], expected["head.weight"])


def test_momentum_goes_on_where_the_optimizer_is_the_same_alone(
    teacher: nn.Module, net: Net, data: Any, tmp_path: Path
) -> None:
    """A stage at rate 0 leaves the weights; the momentum that it inherits is in what it leaves."""
    settings = {"lr": 0.05, "schedule": "step", "step_epochs": 1, "weight_decay": 0.0}
    first = Stage("kd", epochs=1, **settings)
    for optimizer, goes_on in (("sgd", True), ("adamw", False)):
        stages = [first, Stage("at", 1, schedule="shared", optimizer=optimizer),
                  Stage("kd", 1, schedule="shared", optimizer=optimizer)]  # fmt: skip
        folder = tmp_path / optimizer
        with pytest.raises(StoppedError):
            distill(teacher, net(), data, stages, folder, engine=CPU, listener=StopAfter(3, 1))
        keys = {
            name.split(".")[1]
            for name in load_tensors(folder / "2-at" / CONTINUATION)[0]
            if name.startswith("optimizer.")
        }
        assert keys == ({"momentum_buffer"} if goes_on else {"step", "exp_avg", "exp_avg_sq"})


STAGES = [
    Stage("fitnet", epochs=2, ema_decay=0.8, **{**RUN, "lr": 0.01}),
    Stage((MethodSpec("kd"), MethodSpec("fitnet")), epochs=2, ema_decay=0.8, schedule="shared"),
    Stage("rkd", epochs=2, ema_decay=0.8, schedule="shared"),
]


@pytest.mark.parametrize(
    "case",
    [(1, 7, "sgd"), (2, 1, "sgd"), (2, 6, "lamb"), (3, 3, "adamw"), (3, 8, "sgd")],
    ids=str,
)
def test_a_run_stopped_anywhere_ends_as_one_that_was_not(
    case: tuple[int, int, str], teacher: nn.Module, net: Net, data: Any, tmp_path: Path
) -> None:
    """In a stage, right behind the border to it, and before its first epoch is over."""
    *place, optimizer = case
    stages = [replace(stage, optimizer=optimizer) for stage in STAGES]
    distill(teacher, net(), data, stages, tmp_path / "whole", validation=data, engine=CPU)
    with pytest.raises(StoppedError):
        distill(teacher, net(), data, stages, tmp_path / "stopped", validation=data, engine=CPU,
                listener=StopAfter(*place))  # fmt: skip
    distill(teacher, net(), data, stages, tmp_path / "stopped", validation=data, engine=CPU)
    for name in ("1-fitnet", "2-kd+fitnet", "3-rkd"):
        assert_same(weights_of(tmp_path / "stopped", name), weights_of(tmp_path / "whole", name))


def test_the_reference_is_what_was_handed_on_and_the_student_goes_on_from_its_own_weights(
    teacher: nn.Module, net: Net, data: Any, tmp_path: Path
) -> None:
    """With a running mean the two differ."""
    with pytest.raises(StoppedError):
        distill(teacher, net(), data, STAGES, tmp_path, engine=CPU, listener=StopAfter(2, 1))
    handed_on = weights_of(tmp_path, "1-fitnet")["head.weight"]
    goes_on = load_tensors(tmp_path / "1-fitnet" / CONTINUATION)[0]["step.student.head.weight"]
    assert not torch.equal(handed_on, goes_on)


def test_the_first_stage_is_done_anew_when_the_schedule_that_it_names_becomes_longer(
    teacher: nn.Module, net: Net, data: Any, tmp_path: Path
) -> None:
    distill(teacher, net(), data, STAGES[:2], tmp_path, engine=CPU)
    before = weights_of(tmp_path, "1-fitnet")
    distill(teacher, net(), data, STAGES, tmp_path, engine=CPU)
    after = weights_of(tmp_path, "1-fitnet")
    assert not torch.equal(before["head.weight"], after["head.weight"])


def test_a_student_that_changed_its_shapes_cannot_go_on(
    teacher: nn.Module, net: Net, data: Any, tmp_path: Path
) -> None:
    def widen(_number: int, student: nn.Module) -> None:
        student.head = nn.Sequential(nn.Linear(8, 5), nn.Linear(5, 3))

    with pytest.raises(ModelMismatchError, match="stage kd\\+fitnet shares a schedule"):
        distill(teacher, net(), data, STAGES[:2], tmp_path, engine=CPU, between=widen)


def test_a_continuation_that_changed_is_told_of(
    teacher: nn.Module, net: Net, data: Any, tmp_path: Path
) -> None:
    distill(teacher, net(), data, STAGES[:2], tmp_path, engine=CPU)
    path = tmp_path / "1-fitnet" / CONTINUATION
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CorruptFileError, match=CONTINUATION):
        distill(teacher, net(), data, STAGES[:2], tmp_path, engine=CPU)
