"""What a network costs, whatever it runs on."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from smskd.features.taps import evaluating


def parameter_count(network: nn.Module) -> int:
    """How many numbers a network has learned."""
    return sum(parameter.numel() for parameter in network.parameters())


def mac_count(network: nn.Module, images: Tensor) -> int | None:
    """Multiply-accumulates of a network's convolutions and matrix products for one image.

    None where they cannot be counted: a network may do anything on its way.

    Args:
        network: maps images to logits.
        images: a batch that it takes, shape (N, C, H, W), on its device.
    """
    # With gradients: without them attention runs as one operator that the counter does not know.
    try:
        with evaluating(network), torch.enable_grad(), FlopCounterMode(display=False) as counter:
            network(images)
    except Exception:
        return None
    operations: int = counter.get_total_flops()
    return operations // (2 * len(images))


def cost_of(network: nn.Module, images: Tensor) -> dict[str, int | None]:
    """Parameters and multiply-accumulates by name, as JSON values."""
    return {"parameters": parameter_count(network), "macs": mac_count(network, images)}
