"""Weights and resume state as safetensors files: whole, checked, and free of code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from foundation.errors import CorruptFileError, MissingFileError, WeightsMismatchError
from foundation.files import write_bytes

_CHECKSUM = "content_sha256"
_SHOWN = 3


def save_tensors(path: Path, tensors: Mapping[str, Tensor], **facts: Any) -> None:
    """Write tensors and JSON-able facts into one file, atomically, with a checksum of the content.

    Raises:
        NoSpaceError: when the disk is full.
    """
    copies = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    metadata = {name: json.dumps(fact) for name, fact in facts.items()}
    metadata[_CHECKSUM] = content_sha256(copies, metadata)
    # Through bytes rather than save_file: a full disk then shows as an OSError that names the file.
    write_bytes(path, save(copies, metadata))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and facts of a file.

    Files of other programs, which carry no checksum of ours, are taken as they are.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is not a safetensors file or its content changed.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CorruptFileError(
            f"{path}: not a readable safetensors file ({error}); delete it to make it anew"
        ) from error
    expected = metadata.pop(_CHECKSUM, None)
    if expected is None:
        return tensors, {}
    if content_sha256(tensors, metadata) != expected:
        raise CorruptFileError(f"{path}: checksum differs; delete it to make it anew")
    return tensors, {name: json.loads(fact) for name, fact in metadata.items()}


def save_model(path: Path, model: nn.Module) -> None:
    """Write a network's weights and buffers."""
    save_tensors(path, model.state_dict())


def load_model(path: Path, model: nn.Module) -> None:
    """Read weights into a network, all or nothing.

    Args:
        path: a .safetensors file, or a torch checkpoint that holds nothing but tensors.
        model: the network that takes them.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it cannot be read.
        WeightsMismatchError: when names or shapes differ.
    """
    tensors = load_tensors(path)[0] if path.suffix == ".safetensors" else _load_torch(path)
    _check_fit(path, model, tensors)
    model.load_state_dict(tensors)


def content_sha256(tensors: Mapping[str, Tensor], facts: Mapping[str, str] | None = None) -> str:
    """Hex SHA-256 of names, types, shapes and values, wherever the tensors lie, and of facts."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    for name, fact in sorted((facts or {}).items()):
        digest.update(f"{name} {fact}".encode())
    return digest.hexdigest()


@dataclass
class ResumeState:
    """Where a stage stood at the end of an epoch.

    Attributes:
        epoch: epochs finished.
        history: one record an epoch.
    """

    epoch: int
    history: list[dict[str, Any]]


def save_resume(
    path: Path,
    step: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: ResumeState,
    fingerprint: str,
) -> None:
    """Write all that the next epoch depends on."""
    tensors = {f"step.{name}": tensor for name, tensor in step.state_dict().items()}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if value is not None:
                tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value)
    save_tensors(path, tensors, epoch=state.epoch, history=state.history, fingerprint=fingerprint)


def load_resume(
    path: Path, step: nn.Module, optimizer: torch.optim.Optimizer, fingerprint: str
) -> ResumeState | None:
    """Put a stage back to where it stood; None when there is nothing to resume from.

    State that was written by a stage with other settings is passed over.

    Raises:
        CorruptFileError: when the file's content changed.
        WeightsMismatchError: when it is of another network.
    """
    if not path.exists():
        return None
    tensors, facts = load_tensors(path)
    if facts.get("fingerprint") != fingerprint:
        return None
    weights = {n.removeprefix("step."): t for n, t in tensors.items() if n.startswith("step.")}
    _check_fit(path, step, weights)
    step.load_state_dict(weights)
    per_parameter: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            per_parameter.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": per_parameter, "param_groups": groups})
    return ResumeState(facts["epoch"], facts["history"])


def _load_torch(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # what an unpickler raises on damaged bytes is anyone's guess
        raise CorruptFileError(
            f"{path}: not a torch checkpoint of plain tensors; save `model.state_dict()` "
            "with safetensors or torch.save"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(t, Tensor) for t in content.values()):
        raise CorruptFileError(f"{path}: not a state dict; save `model.state_dict()` alone")
    return content


def _check_fit(path: Path, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    problems = _misfits(model.state_dict(), tensors)
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise WeightsMismatchError(
            f"{path}: these weights do not fit {type(model).__name__}: "
            f"{'; '.join(problems[:_SHOWN])}{more}. "
            "Name the architecture and the number of classes they were trained for"
        )


def _misfits(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    shapes = [
        f"{name} is {tuple(found[name].shape)} there, {tuple(wanted[name].shape)} here"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    missing = [f"{name} is missing there" for name in wanted if name not in found]
    surplus = [f"{name} is unknown here" for name in found if name not in wanted]
    return shapes + missing + surplus
