"""Structured pruning: whole channels taken out of a network, through torch-pruning.

Its dependency graph finds which channels of which layers hang together (residuals, grouped
convolutions, attention heads) and go only as one. The images' channels and the logits stay.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from foundation.errors import CompressError, ModelMismatchError
from pipeline.models.costs import cost_of
from pipeline.models.pruned_form import Form, Sizes, changed_sizes, sizes_of
from smskd.blame import blamed
from smskd.checkpoints.files import content_sha256
from smskd.features.taps import dry_pass

_IMPORTANCES = {
    "group-norm": "GroupMagnitudeImportance",
    "bn-scale": "BNScaleImportance",
    "random": "RandomImportance",
}
# Attention in windows, by torchvision's names and timm's: following it, torch-pruning does not end.
_ENDLESS = {"ShiftedWindowAttention", "ShiftedWindowAttentionV2", "WindowAttention"}


@dataclass(frozen=True)
class Order:
    """What to prune.

    Attributes:
        share: of the channels of each layer, 0..1; what goes is rounded to `multiple`.
        importance: by which the least important channels are found: "group-norm", the L2 norm of
            all weights that hang on a channel; "bn-scale", of its batch-norm scale; "random".
        multiple: layers keep a multiple of so many channels: kernels work in blocks, and a block
            that is half empty takes as long as a full one.
        seed: of the random numbers.
    """

    share: float
    importance: str = "group-norm"
    multiple: int = 8
    seed: int = 0


def require_torch_pruning() -> None:
    """Make sure that torch-pruning is installed, without importing it.

    Raises:
        ModelMismatchError: when it is not.
    """
    if find_spec("torch_pruning") is None:
        raise ModelMismatchError(
            "pruning needs torch-pruning installed; pip install torch-pruning, or leave `prune` out"
        )


def made_from(network: nn.Module, order: Order) -> dict[str, Any]:
    """What a form depends on, as JSON values."""
    return {**asdict(order), "network": content_sha256(network.state_dict())}


def prune(network: nn.Module, images: Tensor, order: Order) -> Form:
    """Find what a network is without its least important channels; the network is left as it is.

    Args:
        network: maps images to logits (N, classes).
        images: a batch that it takes, shape (N, C, H, W).
        order: what to prune.

    Raises:
        ModelMismatchError: when torch-pruning is not there, cannot follow the network's layers,
            or finds nothing to take away.
    """
    require_torch_pruning()
    if any(type(module).__name__ in _ENDLESS for module in network.modules()):
        raise _cannot(network, "torch-pruning does not follow attention in windows")
    with blamed(network, "being copied"):
        copy = deepcopy(network).cpu().eval().requires_grad_(True)
    images = images.cpu()
    sizes, before = sizes_of(copy), cost_of(copy, images)
    try:
        with torch.random.fork_rng(), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parameters outside of layers, which it handles
            torch.manual_seed(order.seed)
            logits = dry_pass(copy, images).shape
            _take_out(copy, images, order)
            _tell_sizes(copy)
            logits_left = dry_pass(copy, images).shape
    except CompressError:
        raise
    except Exception as error:  # a network may do anything with its channels
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise _cannot(network, f"torch-pruning does not follow its layers ({reason})") from error
    _check_still_one(network, copy)
    left, after = sizes_of(copy), cost_of(copy, images)
    if logits_left != logits:
        raise _cannot(network, f"its {logits[1]} logits became {logits_left[1]}")
    if after == before:
        raise _cannot(
            network,
            f"{order.share:g} of its channels, in multiples of {order.multiple} kept, are none",
        )
    facts = {
        "made_from": made_from(network, order),
        "made_with": f"torch-pruning {version('torch-pruning')}",
        "before": before,
        "after": after,
        "channels": _channels(sizes, left),
    }
    return Form(copy.state_dict(), changed_sizes(sizes, left), facts)


def _check_still_one(network: nn.Module, pruned: nn.Module) -> None:
    """Make sure that tensors with several names are still one each.

    Raises:
        ModelMismatchError: when the library has parted them.
    """
    left = pruned.state_dict(keep_vars=True)
    names: dict[int, str] = {}
    for name, tensor in network.state_dict(keep_vars=True).items():
        first = names.setdefault(id(tensor), name)
        if left[name] is not left[first]:
            raise _cannot(
                network, f"{first} and {name} are one tensor, which pruning would make two of"
            )


def _take_out(network: nn.Module, images: Tensor, order: Order) -> None:
    surveyor = _pruner(network, images, order)
    graph, logits, ratios = surveyor.DG, [], {}
    joint = [attention.qkv for attention in _joint_attention(network)]
    for group in graph.get_all_groups(root_module_types=surveyor.root_module_types):
        layer = group[0].dep.target.module
        if any(_reads(graph, dependency) for dependency, _ in group):
            # Queries, keys and values of one linear layer go together.
            count = len(group[0].idxs) // (3 if layer in joint else 1)
            parts = surveyor._get_channel_groups(group)
            ratios[layer] = _ratio(count // parts, parts, order)
        else:
            logits.append(layer)
    _pruner(network, images, order, ignored_layers=logits, pruning_ratio_dict=ratios).step()


def _pruner(network: nn.Module, images: Tensor, order: Order, **settings: Any) -> Any:
    library = importlib.import_module("torch_pruning")
    heads = {m: m.num_heads for m in network.modules() if isinstance(m, nn.MultiheadAttention)}
    # New dictionaries each time: a pruner writes into them, and the defaults are shared by all.
    return library.pruner.BasePruner(
        network,
        images,
        getattr(library.importance, _IMPORTANCES[order.importance])(),
        in_channel_groups=dict(heads),
        out_channel_groups=dict(heads),
        num_heads={module.qkv: module.num_heads for module in _joint_attention(network)},
        pruning_ratio=0.0,  # of what is not named
        **settings,
    )


def _reads(graph: Any, dependency: Any) -> bool:
    """Whether a layer reads the channels: those that nobody reads are the logits."""
    handler = dependency.handler
    return graph.is_in_channel_pruning_fn(handler) and isinstance(
        dependency.target.module, nn.modules.conv._ConvNd | nn.Linear
    )


def _ratio(count: int, parts: int, order: Order) -> float:
    """The share to take from each of a layer's equal parts, so that a whole multiple is left."""
    step = order.multiple // math.gcd(order.multiple, parts)
    remaining = round(count * (1 - order.share) / step) * step
    remaining = min(max(remaining, step), count)
    return 0.0 if remaining == count else 1 - (remaining + 0.5) / count  # the library rounds down


def _joint_attention(network: nn.Module) -> Iterator[Any]:
    """Attention as timm writes it: one linear layer for queries, keys and values."""
    for module in network.modules():
        if isinstance(getattr(module, "qkv", None), nn.Linear) and hasattr(module, "num_heads"):
            yield module


def _tell_sizes(network: nn.Module) -> None:
    """Put right the numbers that networks keep for themselves, which the library does not know."""
    transformer = importlib.import_module("torchvision").models.VisionTransformer
    for module in network.modules():
        if isinstance(module, transformer):
            module.hidden_dim = module.conv_proj.out_channels
    for module in _joint_attention(network):
        width = module.qkv.out_features // 3
        for name, size in (("attn_dim", width), ("head_dim", width // module.num_heads)):
            if hasattr(module, name):
                setattr(module, name, size)


def _channels(before: Sizes, after: Sizes) -> dict[str, list[int]]:
    """Outputs of each layer that lost some, before and after."""
    return {
        name: [before[name][key], sizes[key]]
        for name, sizes in after.items()
        for key in ("out_channels", "out_features", "embed_dim")
        if key in sizes and sizes[key] != before[name][key]
    }


def _cannot(network: nn.Module, reason: str) -> ModelMismatchError:
    return ModelMismatchError(
        f"{type(network).__name__} cannot be pruned: {reason}; leave `prune` out, change it, or "
        "choose another student"
    )
