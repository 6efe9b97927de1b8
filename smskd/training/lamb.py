"""LAMB: Adam whose step is brought to the size of what it changes, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_BETAS = (0.9, 0.999)
_EPSILON = 1e-6


class Lamb(torch.optim.Optimizer):
    """You et al. 2020, "Large Batch Optimization for Deep Learning", arXiv 1904.00962.

    As timm has it: the step of a tensor without weight decay is Adam's. The gradients are not
    clipped here; timm's own clip is `max_grad_norm = 1.0`.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        weight_decay: added to the step, before it is brought to size.
    """

    def __init__(self, params: Iterable[Any], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    step = self._adam(parameter) + group["weight_decay"] * parameter
                    ratio = _trust(parameter, step) if group["weight_decay"] else 1.0
                    parameter.sub_(step * (group["lr"] * ratio))
        return loss

    def _adam(self, parameter: Tensor) -> Tensor:
        """Adam's step for a parameter, whose state goes on by one."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        mean: Tensor = state["exp_avg"]
        square: Tensor = state["exp_avg_sq"]
        mean.lerp_(gradient, 1 - _BETAS[0])
        square.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        count = float(state["step"])
        root = (square / (1 - math.pow(_BETAS[1], count))).sqrt_().add_(_EPSILON)
        return mean / (1 - math.pow(_BETAS[0], count)) / root


def _trust(parameter: Tensor, step: Tensor) -> Tensor:
    """Size of a parameter over that of its step: a scalar; 1 where either is nought."""
    size, length = torch.linalg.vector_norm(parameter), torch.linalg.vector_norm(step)
    ratio = size / length
    return torch.where((size > 0) & (length > 0), ratio, torch.ones_like(ratio))
