"""Batch norms folded into the convolutions before them: a network at rest says the same, sooner."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from smskd.features.taps import BEFORE, TappedModel

# Of the size of what it says: more than rounding, a GPU's TF32 too; another network is far more.
_TOLERANCE = 1e-2


def folded(tapped: TappedModel, example: Tensor) -> TappedModel:
    """A frozen copy whose batch norms are folded into their convolutions where that can be done.

    Which convolution a batch norm follows is seen in one pass; no network has to be rewritten or
    traced. If the copy says something else than the network, as where a convolution's output is
    used a second time, the network itself is given back.

    Args:
        tapped: a network at rest, in evaluation mode; left as it is.
        example: images that it takes, shape (N, C, H, W), on its device.
    """
    with torch.no_grad():
        pairs = _pairs(tapped, example)
        if not pairs:
            return tapped
        model = tapped.frozen_copy(with_taps=False).model
        for convolution, norm in pairs:
            _fold(model, convolution, norm)
        result = TappedModel(model, tapped.taps, tapped.classifier_name)
        return result if _say_the_same(tapped, result, example) else tapped


def _pairs(tapped: TappedModel, example: Tensor) -> list[tuple[str, str]]:
    """Names of convolutions and of the batch norms that are given just what they gave."""
    given, gave = {}, {}
    runs: Counter[str] = Counter()

    def note(name: str, _module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        runs[name] += 1
        given[name], gave[name] = _Passing.of(args[0] if args else None), _Passing.of(output)

    modules = {n: m for n, m in tapped.model.named_modules() if _is_plain(m)}
    with ExitStack() as hooks:
        for name, module in modules.items():
            hooks.callback(module.register_forward_hook(partial(note, name)).remove)
        tapped.model(example)
    once = [name for name in modules if runs[name] == 1]
    # A tap between the two reads what would not be there any more.
    read = {tap.removesuffix(BEFORE) for tap in tapped.taps if tap.endswith(BEFORE)}
    convolutions = [n for n in once if isinstance(modules[n], nn.Conv2d) and n not in tapped.taps]
    norms = [n for n in once if isinstance(modules[n], nn.BatchNorm2d) and n not in read]
    makers = {gave[name].key: name for name in convolutions}
    return [(makers[given[n].key], n) for n in norms if given[n].key in makers]


class _Passing(NamedTuple):
    """A tensor on its way, held so that no other takes its place, and how often it was changed."""

    tensor: Any
    changes: int

    @classmethod
    def of(cls, passing: Any) -> _Passing:
        return cls(passing, passing._version if isinstance(passing, Tensor) else 0)

    @property
    def key(self) -> tuple[int, int]:
        return id(self.tensor), self.changes


def _is_plain(module: nn.Module) -> bool:
    """Whether a module computes what its type says, of weights that are its own."""
    if module._forward_hooks or module._forward_pre_hooks:
        return False
    if type(module) is nn.BatchNorm2d:
        return module.running_mean is not None
    return type(module) is nn.Conv2d


def _fold(model: nn.Module, convolution_name: str, norm_name: str) -> None:
    convolution, norm = model.get_submodule(convolution_name), model.get_submodule(norm_name)
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    layout = convolution.weight
    weight, bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    kept = torch.empty_like(layout).copy_(weight)
    convolution.weight = nn.Parameter(kept, requires_grad=False)
    convolution.bias = nn.Parameter(bias.detach(), requires_grad=False)
    model.set_submodule(norm_name, nn.Identity())


def _say_the_same(before: TappedModel, after: TappedModel, example: Tensor) -> bool:
    signals = before(example), after(example)
    pairs = zip(*((said.logits, *said.features) for said in signals), strict=True)
    return all(
        bool((ours - theirs).norm() <= _TOLERANCE * theirs.norm().clamp_min(1e-12))
        for theirs, ours in pairs
    )
