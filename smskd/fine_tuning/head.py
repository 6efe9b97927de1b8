"""The layer that gives a network's logits: found in any network, and made for other classes."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from foundation.errors import ModelMismatchError, unknown_name
from smskd.features.taps import dry_pass

_ADVICE = "name the layer that gives the logits with --head (teacher.head)"


def find_head(model: nn.Module, example: Tensor, name: str | None = None) -> str:
    """Name of the layer that gives the logits: the last one with weights in the forward pass.

    Args:
        model: maps images to logits (N, classes).
        example: images, shape (N, C, H, W).
        name: of the layer, where it is known; it is made sure that it can be one.

    Raises:
        ModelMismatchError: when that layer is neither linear nor a convolution, or gives something
            else than the logits.
        UnknownNameError: when there is no submodule of that name.
    """
    modules, shown = dict(model.named_modules()), type(model).__name__
    if name is not None and name not in modules:
        raise unknown_name(f"layer of {shown}", name, [n for n in modules if n], "teacher.head")
    count, last = _last_with_weights(model, example)
    found = name or last
    width = _width(modules.get(found))
    if width == count:
        return found
    what = f"{found!r} is a {type(modules[found]).__name__}" if found else "there is none"
    outputs = f" with {width} outputs" if width is not None else ""
    subject = "the layer that was named" if name else "the last layer with weights"
    raise ModelMismatchError(
        f"{shown}: gives {count} logits, but {subject} is no linear layer or convolution of so "
        f"many outputs ({what}{outputs}); {_ADVICE}"
    )


def replace_head(model: nn.Module, example: Tensor, name: str, classes: int) -> None:
    """Put a fresh layer of the same kind, for so many classes, in the place of the head.

    Args:
        model: in place.
        example: images, shape (N, C, H, W), to see that it gives so many logits.
        name: of the head, as `find_head` gives it.
        classes: logits that it shall give.

    Raises:
        ModelMismatchError: when the network does not give so many logits then.
    """
    old = model.get_submodule(name)
    if not name:
        raise ModelMismatchError(
            f"{type(model).__name__}: is a single layer, whose logits cannot be made others; have "
            "its factory take num_classes"
        )
    assert isinstance(old, nn.Linear | nn.Conv2d), "found to be one"
    model.set_submodule(name, _fresh(old, classes))
    try:
        count = dry_pass(model, example).shape[1]
        now = f"gives {count} logits"
    except Exception as error:  # a user's network may fail in any way
        count, now = None, "fails ({})".format(str(error).partition("\n")[0])
    if count != classes:
        model.set_submodule(name, old)
        raise ModelMismatchError(
            f"{type(model).__name__}: with {name!r} made anew for {classes} classes it {now}, so "
            f"that layer alone does not give its logits; {_ADVICE}, or have its factory take "
            "num_classes"
        )


def _width(layer: nn.Module | None) -> int | None:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    if isinstance(layer, nn.Conv2d) and layer.groups == 1:
        return layer.out_channels
    return None


def _fresh(old: nn.Linear | nn.Conv2d, classes: int) -> nn.Module:
    place: dict[str, Any] = {"device": old.weight.device, "dtype": old.weight.dtype}
    has_bias = old.bias is not None
    if isinstance(old, nn.Linear):
        return nn.Linear(old.in_features, classes, bias=has_bias, **place)
    return nn.Conv2d(
        old.in_channels,
        classes,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        old.dilation,  # type: ignore[arg-type]
        bias=has_bias,
        padding_mode=old.padding_mode,
        **place,
    )


def _last_with_weights(model: nn.Module, example: Tensor) -> tuple[int, str]:
    """How many logits a network gives, and the last module with weights of its own that it begins
    to run; a network may have some itself, and ends after all others.
    """
    run: list[str] = []

    def note(name: str, _module: nn.Module, _args: Any) -> None:
        run.append(name)

    hooks = [
        module.register_forward_pre_hook(partial(note, name))
        for name, module in model.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    try:
        with torch.no_grad():
            count = dry_pass(model, example).shape[1]
    finally:
        for hook in hooks:
            hook.remove()
    return count, run[-1] if run else ""
