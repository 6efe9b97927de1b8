"""The form of a pruned network: the sizes that its layers have now, beside its tensors.

A network's code gives it the form of its architecture. What pruning made of it lies in one file,
numbers and tensors alone, from which any process brings a fresh network into the same form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from foundation.errors import CorruptFileError, WeightsMismatchError
from smskd.checkpoints.files import load_tensors, save_tensors

PRUNED = "pruned.safetensors"

Sizes = dict[str, dict[str, Any]]
"""Attributes by submodule: {"layer1.0.conv1": {"out_channels": 12}}."""


@dataclass(frozen=True)
class Form:
    """A network as pruning left it.

    Attributes:
        tensors: its state dict.
        sizes: the attributes of its layers that pruning changed; each a number or a row of them.
        facts: JSON values: what it was made from, and what it cost before and after.
    """

    tensors: dict[str, Tensor]
    sizes: Sizes
    facts: dict[str, Any]


def sizes_of(network: nn.Module) -> Sizes:
    """All whole numbers, and rows of them, that the modules of a network carry."""
    return {
        name: {key: value for key, value in vars(module).items() if _is_size(value)}
        for name, module in network.named_modules()
    }


def changed_sizes(before: Sizes, after: Sizes) -> Sizes:
    """Those of `after` that are others than `before`."""
    changed = {
        name: {key: value for key, value in sizes.items() if before[name].get(key) != value}
        for name, sizes in after.items()
    }
    return {name: sizes for name, sizes in changed.items() if sizes}


def reform(network: nn.Module, form: Form, source: str) -> None:
    """Bring a network that is as it was before the pruning into a form, in place.

    Its modules stay the same objects, on the same device; their sizes and tensors change. What has
    two names, a module or a tensor, stays one thing.

    Raises:
        WeightsMismatchError: when the form is another architecture's.
    """
    modules = dict(network.named_modules(remove_duplicate=False))
    state = network.state_dict(keep_vars=True)
    if form.tensors.keys() != state.keys() or not _fits(modules, form.sizes):
        raise WeightsMismatchError(
            f"{source}: the form of another architecture than {type(network).__name__}; choose "
            "the model that it was pruned from, or delete the file to prune anew"
        )
    for name, sizes in form.sizes.items():
        for key, value in sizes.items():
            setattr(modules[name], key, tuple(value) if isinstance(value, list) else value)
    resized: dict[int, Tensor] = {}
    for name, tensor in form.tensors.items():
        owner, _, key = name.rpartition(".")
        old = state[name]
        if id(old) not in resized:
            resized[id(old)] = _resized(old, tensor)
        if getattr(modules[owner], key) is not resized[id(old)]:
            setattr(modules[owner], key, resized[id(old)])


def write_form(path: Path, form: Form) -> None:
    """Write a form as one checksummed safetensors file, atomically.

    Raises:
        NoSpaceError: when the disk is full.
    """
    save_tensors(path, form.tensors, sizes=form.sizes, **form.facts)


def read_form(path: Path) -> Form:
    """A form as it was written.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when its content changed, or it holds no form.
    """
    tensors, facts = load_tensors(path)
    if "sizes" not in facts:
        raise CorruptFileError(f"{path}: not the form of a network; delete it to prune anew")
    return Form(tensors, facts.pop("sizes"), facts)


def _is_size(value: Any) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(map(_is_size, value))
    return type(value) is int  # a bool is none


def _fits(modules: Mapping[str, nn.Module], sizes: Sizes) -> bool:
    return all(
        name in modules and all(_is_size(vars(modules[name]).get(key)) for key in changed)
        for name, changed in sizes.items()
    )


def _resized(old: Tensor, tensor: Tensor) -> Tensor:
    """The values of `tensor` in the place of `old`: in it, or else in one like it."""
    if old.shape == tensor.shape:
        old.data.copy_(tensor)
        return old
    new = tensor.to(old.device, old.dtype, copy=True)
    return nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
