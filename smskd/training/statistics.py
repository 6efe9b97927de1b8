"""Batch-norm statistics of a running mean, which was never trained itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from smskd.batch import Batch, Batches, as_batch
from smskd.features.taps import evaluating
from smskd.parallel import mean_over_processes

# The means of so many batches are known to a hundredth of a deviation: more would not show.
MOST_BATCHES = 100


def estimate_statistics(
    network: nn.Module, batches: Batches, images_of: Callable[[Batch], Tensor]
) -> None:
    """Set a network's batch-norm statistics to the means over batches, and change nothing else.

    Several processes take the mean of theirs. Dropout is off.

    Args:
        network: in place; without batch norm that keeps statistics, nothing is done.
        batches: at most `MOST_BATCHES` of them are looked at; those of one image are left out.
        images_of: brings a batch's images to where the network is.
    """
    layers = [
        layer
        for layer in network.modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    ]
    if not layers:
        return
    with evaluating(network), _counting_anew(layers), torch.no_grad():
        for item in islice(batches, MOST_BATCHES):
            batch = as_batch(item)
            if len(batch.images) > 1:
                network(images_of(batch))
    for layer in layers:
        for statistic in (layer.running_mean, layer.running_var):
            assert statistic is not None
            statistic.copy_(mean_over_processes(statistic))


@contextmanager
def _counting_anew(layers: list[_BatchNorm]) -> Iterator[None]:
    """Let layers begin their statistics anew, each batch counting alike."""
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.train()
        layer.momentum = None
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
