"""Several processes that train one student together, each on its part of every batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from smskd.batch import Batch
from smskd.features.signals import Signals


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number among them; 0 leads."""
    return dist.get_rank() if world_size() > 1 else 0


def wait_for_all() -> None:
    """Go on once every process has come this far."""
    if world_size() > 1:
        dist.barrier()


def mean_over_processes(tensor: Tensor) -> Tensor:
    """The mean of a tensor that each process has its own of; no gradient flows through it."""
    if world_size() == 1:
        return tensor
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def gathered(tensor: Tensor) -> Tensor:
    """The tensors of all processes, one after the other along the first dimension.

    Gradients flow back to where they came from. Every process that computes the same loss of the
    gathered tensor gives its own part `world_size` times the gradient, which the mean over
    processes, that distributed training takes, makes right.

    Args:
        tensor: as long in every process.
    """
    if world_size() == 1:
        return tensor
    joint: Tensor = _Gather.apply(tensor)
    return joint


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.length = len(tensor)
        parts = [torch.empty_like(tensor) for _ in range(world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        joint = gradient.contiguous().clone()
        dist.all_reduce(joint)
        return joint.narrow(0, rank() * ctx.length, ctx.length)


def whole_signals(signals: Signals) -> Signals:
    """What a network said about the joint batch of all processes."""
    return signals if world_size() == 1 else signals.map(gathered)


def whole_batch(batch: Batch) -> Batch:
    """Labels and ids of the joint batch of all processes; images stay where they are."""
    if world_size() == 1:
        return batch
    ids = None if batch.ids is None else gathered(batch.ids)
    return batch._replace(labels=gathered(batch.labels), ids=ids)
