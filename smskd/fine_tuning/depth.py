"""Learning rates that fall from a network's head to its first layers.

Howard & Ruder, "Universal Language Model Fine-tuning for Text Classification" (ACL 2018), section
3.2, let each layer learn slower than the one above it; Bao et al., "BEiT" (2021), by a constant
factor a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from smskd.features.taps import dry_pass
from smskd.fine_tuning.phase import is_in

# As many blocks as the transformers have on which the usual factors were found. A deeper network's
# layers share groups, or its first ones would not learn at all.
MOST_GROUPS = 12


def layer_rates(
    model: nn.Module, example: Tensor, head: Sequence[str], decay: float
) -> dict[str, float]:
    """Share of the learning rate by the parameter's name: 1 in the head, decay, decay², … below it.

    The layers below the head, in the order in which they are run, make up to twelve groups of
    about as many layers each.

    Args:
        model: the network.
        example: images, shape (N, C, H, W), to see the order by.
        head: names of the submodules that make the logits.
        decay: of a group against the one above it, above 0 to 1.
    """
    names = [name for name, _ in model.named_parameters()]
    layers = _in_order(model, example, [n for n in names if not is_in(n, head)])
    count = min(MOST_GROUPS, len(layers))
    depth = {layer: count - place * count // len(layers) for place, layer in enumerate(layers)}
    return {name: decay ** depth.get(_owner(name), 0) for name in names}


def _owner(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def _in_order(model: nn.Module, example: Tensor, parameters: Sequence[str]) -> list[str]:
    """The modules that own parameters, in the order of the forward pass."""
    first_run: dict[str, int] = {"": -1}

    def note(name: str, _module: nn.Module, _args: Any) -> None:
        first_run.setdefault(name, len(first_run))

    hooks = [
        module.register_forward_pre_hook(partial(note, name))
        for name, module in model.named_modules()
        if name
    ]
    try:
        dry_pass(model, example)
    finally:
        for hook in hooks:
            hook.remove()

    def place(layer: str) -> int:
        # A module that is never called itself, as in an attention, is run by one around it.
        while layer not in first_run:
            layer = _owner(layer)
        return first_run[layer]

    return sorted(dict.fromkeys(map(_owner, parameters)), key=place)
