"""Optimizer and learning rate of a stage."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from smskd.stage import Stage


def make_optimizer(stage: Stage, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The stage's optimizer over all that can be learned."""
    if stage.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=stage.lr, weight_decay=stage.weight_decay)
    return torch.optim.SGD(
        parameters,
        lr=stage.lr,
        momentum=stage.momentum,
        weight_decay=stage.weight_decay,
        nesterov=stage.momentum > 0,
    )


def learning_rate(stage: Stage, epoch: float) -> float:
    """The learning rate at a point of the stage.

    A pure function of the position, so there is no scheduler state to save.

    Args:
        stage: the stage.
        epoch: epochs finished, with the fraction of the running one.
    """
    if epoch < stage.warmup_epochs:
        return stage.lr * epoch / stage.warmup_epochs
    if stage.schedule == "constant" or stage.warmup_epochs >= stage.epochs:
        return stage.lr
    rest = (epoch - stage.warmup_epochs) / (stage.epochs - stage.warmup_epochs)
    return stage.lr * 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))
