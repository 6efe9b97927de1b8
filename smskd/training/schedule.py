"""The optimizer of a stage, and how it takes a learning rate (`smskd.curve` has its course)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from smskd.methods import Pace
from smskd.stage import Stage
from smskd.training.lamb import Lamb

_PACE = "pace"


def make_optimizer(
    stage: Stage,
    parameters: Iterable[nn.Parameter],
    lr: float,
    paces: Sequence[Pace] = (),
    shares: Mapping[nn.Parameter, float] | None = None,
) -> torch.optim.Optimizer:
    """The stage's optimizer over all that can be learned.

    Args:
        stage: its momentum and weight decay.
        parameters: all of them.
        lr: the peak of its learning rate.
        paces: those among them that learn at a pace of their own.
        shares: of the stage's rate, of those that learn slower or faster than it; 1 elsewhere.
    """
    groups = _groups(list(parameters), paces, lr, stage.norm_weight_decay, shares or {})
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
    shares: Mapping[nn.Parameter, float],
) -> list[dict[str, Any]]:
    """Those at the stage's pace first; each group with its share of the stage's rate."""
    apart = {parameter for pace in paces for parameter in pace.parameters}
    together: dict[float, list[nn.Parameter]] = {}
    for parameter in parameters:
        if parameter not in apart:
            together.setdefault(shares.get(parameter, 1.0), []).append(parameter)
    by_share = together or {1.0: []}
    return [
        *(
            group
            for share, members in by_share.items()
            for group in _with_norms(members, share, norm_weight_decay)
        ),
        *(
            {"params": pace.parameters, _PACE: pace.share(lr), "weight_decay": pace.weight_decay}
            for pace in paces
        ),
    ]


def _with_norms(
    parameters: list[nn.Parameter], share: float, norm_weight_decay: float | None
) -> list[dict[str, Any]]:
    """Parameters of one share; norms and biases apart, where they have a decay of their own."""
    if norm_weight_decay is None:
        return [{"params": parameters, _PACE: share}]
    of_one_axis = [parameter for parameter in parameters if parameter.dim() <= 1]
    others = [parameter for parameter in parameters if parameter.dim() > 1]
    return [
        {"params": others, _PACE: share},
        {"params": of_one_axis, _PACE: share, "weight_decay": norm_weight_decay},
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
