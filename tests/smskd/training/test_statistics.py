"""Batch-norm statistics of a running mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from smskd import Batch, Engine, Stage, distill, train_alone
from smskd.checkpoints.files import load_tensors
from smskd.training.stage_files import WEIGHTS
from smskd.training.statistics import MOST_BATCHES, estimate_statistics

Net = Callable[..., nn.Module]

CPU = Engine(accelerator="cpu")


def images_of(batch: Batch) -> torch.Tensor:
    return batch.images


def test_statistics_are_the_means_over_batches_as_worked_out_by_hand() -> None:
    """Batches of (1, 3) and (2, 8): means 2 and 5, variances (n − 1) 2 and 18."""
    network = nn.Sequential(nn.BatchNorm1d(1), nn.Dropout(0.5))
    network[0].running_mean.fill_(100.0)
    batches = [
        (torch.tensor([[1.0], [3.0]]), torch.zeros(2)),
        (torch.tensor([[2.0], [8.0]]), torch.zeros(2)),
        (torch.tensor([[99.0]]), torch.zeros(1)),  # of one image there is no variance
    ]
    network.train()
    estimate_statistics(network, batches, images_of)
    assert network[0].running_mean.item() == pytest.approx((2 + 5) / 2)
    assert network[0].running_var.item() == pytest.approx((2 + 18) / 2)
    assert network[0].momentum == 0.1
    assert all(module.training for module in network.modules())


def test_a_network_without_batch_norm_sees_no_image() -> None:
    batches = iter([(torch.ones(2, 1), torch.zeros(2))])
    estimate_statistics(nn.Linear(1, 1), batches, images_of)
    assert len(list(batches)) == 1


def test_of_many_batches_only_so_many_are_looked_at() -> None:
    batches = iter([(torch.ones(2, 1), torch.zeros(2))] * (MOST_BATCHES + 5))
    estimate_statistics(nn.BatchNorm1d(1), batches, images_of)
    assert len(list(batches)) == 5


@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_stage_hands_on_its_mean_with_statistics_of_its_own(
    keep: str, net: Net, data: Any, tmp_path: Path
) -> None:
    """The weights are the same either way; the statistics are those that the mean has itself."""
    handed_on = {}
    for kind in ("student", "anew"):
        stage = Stage(epochs=3, lr=0.1, ema_decay=0.9, ema_batch_norm=kind, keep=keep)
        validation = data if keep == "best" else None
        train_alone(net(), data, stage, tmp_path / kind, engine=CPU, validation=validation)
        handed_on[kind] = load_tensors(tmp_path / kind / WEIGHTS)[0]
    if keep == "last":
        for name, tensor in handed_on["student"].items():
            if "running" not in name and "tracked" not in name:
                assert torch.equal(handed_on["anew"][name], tensor), name
    mean = net()
    mean.load_state_dict(handed_on["anew"])
    estimate_statistics(mean, data, images_of)
    # Of the same images, in whatever order they came.
    for name, tensor in mean.state_dict().items():
        if "running_mean" in name:
            assert torch.allclose(handed_on["anew"][name], tensor, atol=0.05), name
            assert not torch.allclose(handed_on["student"][name], tensor, atol=0.005), name


def test_the_next_stage_starts_from_the_mean_where_it_restarts(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    still = {"lr": 1e-12, "weight_decay": 0.0, "momentum": 0.0}
    stages = [Stage("kd", 3, ema_decay=0.9, ema_batch_norm="anew"), Stage("at", 1, **still)]
    distill(teacher, net(), data, stages, tmp_path, engine=CPU)
    first, second = (load_tensors(tmp_path / name / WEIGHTS)[0] for name in ("1-kd", "2-at"))
    for name, tensor in first.items():
        if "running" not in name and "tracked" not in name:
            assert torch.allclose(second[name], tensor, atol=1e-6), name


@pytest.mark.parametrize("settings", [{}, {"ema_decay": 0.9, "quantize": "int8"}])
def test_without_a_mean_of_weights_in_float_there_is_nothing_to_estimate(
    settings: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match="is of a running mean of weights in float"):
        Stage("kd", ema_batch_norm="anew", **settings)
