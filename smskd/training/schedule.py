"""The optimizer of a stage, and how it takes a learning rate (`smskd.curve` has its course)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from smskd.methods import Pace
from smskd.stage import Stage
from smskd.training.lamb import Lamb

_PACE = "pace"


def make_optimizer(
    stage: Stage, parameters: Iterable[nn.Parameter], lr: float, paces: Sequence[Pace] = ()
) -> torch.optim.Optimizer:
    """The stage's optimizer over all that can be learned.

    Args:
        stage: its momentum and weight decay.
        parameters: all of them.
        lr: the peak of its learning rate.
        paces: those among them that learn at a pace of their own.
    """
    groups = _groups(list(parameters), paces, lr, stage.norm_weight_decay)
    if stage.optimizer == "lamb":
        return Lamb(groups, lr, stage.weight_decay)
    if stage.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=lr, weight_decay=stage.weight_decay)
    return torch.optim.SGD(
        groups,
        lr=lr,
        momentum=stage.momentum,
        weight_decay=stage.weight_decay,
        nesterov=stage.momentum > 0,
    )


def _groups(
    parameters: list[nn.Parameter],
    paces: Sequence[Pace],
    lr: float,
    norm_weight_decay: float | None,
) -> list[dict[str, Any]]:
    """Those at the stage's pace first; each group with its share of the stage's rate."""
    apart = {parameter for pace in paces for parameter in pace.parameters}
    together = [parameter for parameter in parameters if parameter not in apart]
    norms: list[dict[str, Any]] = []
    if norm_weight_decay is not None:
        of_one_axis = [parameter for parameter in together if parameter.dim() <= 1]
        together = [parameter for parameter in together if parameter.dim() > 1]
        norms = [{"params": of_one_axis, _PACE: 1.0, "weight_decay": norm_weight_decay}]
    return [
        {"params": together, _PACE: 1.0},
        *norms,
        *(
            {"params": pace.parameters, _PACE: pace.share(lr), "weight_decay": pace.weight_decay}
            for pace in paces
        ),
    ]


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of parameters its share of the stage's rate.

    A rate that is a tensor is filled in place, so that a captured CUDA graph reads the new one.
    """
    for group in optimizer.param_groups:
        share = rate * group[_PACE]
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(share)
        else:
            group["lr"] = share
