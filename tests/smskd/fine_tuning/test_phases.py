"""A head that learns first, all of the network at rates that fall with the depth, and an end."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foundation.files import read_json
from smskd import Engine, FineTuning, Listener, Stage, fine_tune
from smskd.checkpoints.files import load_tensors
from smskd.fine_tuning.depth import layer_rates
from smskd.fine_tuning.phase import TuningPhase
from smskd.training.stage_files import METRICS, WEIGHTS

CPU = Engine(accelerator="cpu")
Net = Callable[..., nn.Module]


class StoppedError(Exception):
    """Training is stopped from outside."""


class StopIn(Listener):
    """Stops training in the second batch of an epoch of one of its phases."""

    def __init__(self, phase: str, epoch: int) -> None:
        self.at, self.phase, self.epoch = (phase, epoch), "", 1

    def stage_started(self, name: str, epochs: int, done: int) -> None:
        del epochs
        self.phase, self.epoch = name, done + 1

    def epoch_done(self, record: dict[str, Any]) -> None:
        self.epoch = record["epoch"] + 1

    def batch_done(self, batch: int, batches: int | None) -> None:
        del batches
        if (self.phase, self.epoch, batch) == (*self.at, 2):
            raise StoppedError


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_what_lies_below_the_head_keeps_every_bit_while_it_learns_alone(
    net: Net, data: Any, tmp_path: Path
) -> None:
    """Weights and batch-norm statistics too; afterwards all of it learns, and can learn on."""
    network = net()
    before = state(network)
    fine_tune(network, data, Stage(epochs=1), FineTuning(("head",), 2), tmp_path, engine=CPU)
    after_head = load_tensors(tmp_path / "head" / WEIGHTS)[0]
    unchanged = {name for name in before if before[name].equal(after_head[name])}
    assert unchanged == {name for name in before if not name.startswith("head.")}
    after = state(network)
    assert not any(before[name].equal(after[name]) for name in before)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_what_a_user_froze_stays_frozen(net: Net, data: Any, tmp_path: Path) -> None:
    network = net()
    network.stem.requires_grad_(False)
    weight = network.stem[0].weight.clone()
    fine_tune(network, data, Stage(epochs=1), FineTuning(("head",), 1), tmp_path, engine=CPU)
    assert network.stem[0].weight.equal(weight)
    assert not network.stem[0].weight.requires_grad


def test_a_step_is_as_long_as_the_share_of_each_layer_says(
    plain: Net, data: Any, tmp_path: Path
) -> None:
    """One step of SGD from the same weights on the same images: lr · share · gradient."""
    steps = []
    stage = Stage(epochs=1, lr=0.1, momentum=0.0, weight_decay=0.0, schedule="constant")
    for decay in (1.0, 0.5):
        network = plain()
        before = state(network)
        tuning = FineTuning(("head",), layer_decay=decay)
        fine_tune(network, type(data)(8, 8), stage, tuning, tmp_path / str(decay), engine=CPU)
        steps.append({name: tensor - before[name] for name, tensor in state(network).items()})
    rates = layer_rates(plain(), torch.zeros(2, 1, 8, 8), ["head"], 0.5)
    assert set(rates.values()) == {0.25, 0.5, 1.0}
    for name, share in rates.items():
        assert steps[1][name].abs().max() > 0
        torch.testing.assert_close(steps[1][name], share * steps[0][name], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("stops", [[("head", 2)], [("all", 1)], [("head", 1), ("all", 3)]])
def test_stopped_in_any_phase_it_ends_with_the_weights_of_one_that_never_was(
    net: Net, data: Any, tmp_path: Path, stops: list[tuple[str, int]]
) -> None:
    stage = Stage(epochs=3, optimizer="adamw", lr=0.01, ema_decay=0.8, keep="best")
    tuning = FineTuning(("head",), head_epochs=2, layer_decay=0.5, patience=3)
    whole, stopped = net(), net()
    asked = {"validation": data, "engine": CPU, "notes": {"kind": "toy"}}
    expected = fine_tune(whole, data, stage, tuning, tmp_path / "whole", **asked)
    for phase, epoch in stops:
        with pytest.raises(StoppedError):
            fine_tune(
                net(), data, stage, tuning, tmp_path / "stopped",
                listener=StopIn(phase, epoch), **asked,
            )  # fmt: skip
    metrics = fine_tune(stopped, data, stage, tuning, tmp_path / "stopped", **asked)
    assert all(tensor.equal(stopped.state_dict()[n]) for n, tensor in whole.state_dict().items())
    told = [
        [{k: v for k, v in record.items() if k != "seconds"} for record in found["history"]]
        for found in (expected, metrics)
    ]
    assert told[0] == told[1]
    assert load_tensors(tmp_path / "stopped" / WEIGHTS)[1] == {"kind": "toy"}


def test_it_ends_after_a_patience_and_hands_on_the_best(
    net: Net, data: Any, tmp_path: Path
) -> None:
    """What is learned is wrong by the validation images, so the first epoch is the best."""
    network, stage = net(), Stage(epochs=9, lr=0.05, keep="best")
    tuning, wrong = FineTuning(patience=2), type(data)()
    wrong.labels = (wrong.labels + 1) % 3
    with pytest.raises(StoppedError):
        fine_tune(
            network, data, stage, tuning, tmp_path,
            validation=wrong, engine=CPU, listener=StopIn("all", 2),
        )  # fmt: skip
    first = load_tensors(tmp_path / "best.safetensors")[0]
    metrics = fine_tune(net(), data, stage, tuning, tmp_path, validation=wrong, engine=CPU)
    best = metrics["best"]["epoch"]
    assert metrics["last"]["epoch"] == best + 2 < 9
    assert len(metrics["history"]) == best + 2
    handed_on = load_tensors(tmp_path / WEIGHTS)[0]
    assert best > 1 or all(first[name].equal(handed_on[name]) for name in first)
    assert metrics["history"][-1]["val_top1"] <= metrics["best"]["val_top1"]
    again = fine_tune(net(), data, stage, tuning, tmp_path, validation=wrong, engine=CPU)
    assert again == metrics


@pytest.mark.parametrize(
    ("accuracies", "ends_after"),
    [([0.5, 0.4, 0.3], 3), ([0.5, 0.4, 0.6, 0.5], None), ([0.5, 0.5, 0.5], 3), ([0.1, 0.2], None)],
)
def test_a_patience_of_two_by_hand(accuracies: list[float], ends_after: int | None) -> None:
    tuning = TuningPhase(patience=2)
    over = [
        count
        for count in range(1, len(accuracies) + 1)
        if tuning.is_over(
            [{"val_top1": top1} for top1 in accuracies[:count]],
            1 + accuracies[:count].index(max(accuracies[:count])),
        )
    ]
    assert over == ([ends_after] if ends_after else [])


@pytest.mark.parametrize(("asked", "rate"), [(None, 0.2), (0.03, 0.03)])
def test_the_head_has_a_rate_of_its_own(
    net: Net, data: Any, tmp_path: Path, asked: float | None, rate: float
) -> None:
    tuning = FineTuning(("head",), head_epochs=1, head_lr=asked)
    fine_tune(net(), data, Stage(epochs=1, lr=0.02), tuning, tmp_path, engine=CPU)
    lrs = [read_json(at / METRICS)["stage"]["lr"] for at in (tmp_path / "head", tmp_path)]
    assert lrs == pytest.approx([rate, 0.02])


def test_no_phase_shows_images_in_the_order_of_another(net: Net, data: Any, tmp_path: Path) -> None:
    fine_tune(net(), data, Stage(epochs=2), FineTuning(("head",), 2), tmp_path, engine=CPU)
    assert sorted(set(data.epochs)) == [0, 1, 2, 3]
    names = [read_json(folder / METRICS)["name"] for folder in (tmp_path / "head", tmp_path)]
    assert names == ["head", "all"]


@pytest.mark.parametrize(
    ("tuning", "words"),
    [
        ({"layer_decay": 0.0}, "layer_decay must lie above 0"),
        ({"layer_decay": math.nan}, "layer_decay must lie above 0"),
        ({"head_epochs": 1}, "no head is named"),
        ({"head_epochs": -1}, "head_epochs counts from 0"),
        ({"patience": 2}, 'keep = "best"'),
    ],
)
def test_what_cannot_be_is_refused(
    net: Net, data: Any, tmp_path: Path, tuning: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        fine_tune(net(), data, Stage(epochs=1), FineTuning(**tuning), tmp_path, engine=CPU)
