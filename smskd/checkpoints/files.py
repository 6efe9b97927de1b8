"""Tensors and weights as safetensors files: whole, checked, and free of code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from foundation.documents import parse_json
from foundation.errors import CorruptFileError
from foundation.files import write_bytes
from smskd.checkpoints.foreign import Loaded, load_checkpoint, recorded_architecture
from smskd.checkpoints.torch_files import (
    first_bytes,
    is_safetensors,
    read_torch_file,
    safetensors_trouble,
)

_CHECKSUM = "content_sha256"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], **facts: Any) -> None:
    """Write tensors and JSON-able facts into one file, atomically, with a checksum of the content.

    Raises:
        NoSpaceError: when the disk is full.
    """
    copies = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    metadata = {name: json.dumps(fact) for name, fact in facts.items()}
    metadata[_CHECKSUM] = content_sha256(copies, metadata)
    # Through bytes rather than save_file: a full disk then shows as an OSError that names the file.
    write_bytes(path, _in_order(save(copies, metadata)))


def _in_order(content: bytes) -> bytes:
    """A safetensors file whose facts stand in one order: the library writes them in any, and the
    same content would have other bytes each time.

    The file begins with the length of a JSON header, 8 bytes, and the header, with spaces behind
    it so that what follows is aligned (github.com/huggingface/safetensors, "Format").
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    words = json.dumps(header, separators=(",", ":")).encode()
    words += b" " * (-len(words) % 8)
    return len(words).to_bytes(8, "little") + words + content[end:]


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and facts of a file.

    Files of other programs, which carry no checksum of ours, are taken as they are.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is not a safetensors file or its content changed.
    """
    start = first_bytes(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise CorruptFileError(
            f"{path}: {safetensors_trouble(path, start)}; copy it again, or delete it where it was "
            "made here, so that it is made anew"
        ) from error
    expected = metadata.pop(_CHECKSUM, None)
    if expected is None:
        return tensors, {}
    if content_sha256(tensors, metadata) != expected:
        raise CorruptFileError(f"{path}: checksum differs; delete it to make it anew")
    try:
        return tensors, {name: parse_json(fact) for name, fact in metadata.items()}
    except ValueError as error:
        raise CorruptFileError(
            f"{path}: its facts are no JSON ({error}); delete it to make it anew"
        ) from error


def save_model(path: Path, model: nn.Module, **facts: Any) -> None:
    """Write a network's weights and buffers, and JSON-able facts of it."""
    save_tensors(path, model.state_dict(), **facts)


def load_model(path: Path, model: nn.Module, key: str | None = None) -> Loaded:
    """Read weights into a network, all or nothing; `checkpoints.foreign` says what is understood.

    Args:
        path: a safetensors file, or a torch checkpoint with a state dict in it.
        model: the network that takes them.
        key: names one of several sets of weights in it.

    Returns:
        What was chosen, left out or noted there.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it cannot be read, holds code, or values that are no numbers.
        WeightsMismatchError: when names or shapes differ, or several sets of weights fit.
    """
    return load_checkpoint(model, _content_of(path), str(path), key)


def noted_architecture(path: Path) -> str | None:
    """The network's name that a training script noted beside its weights; None where it did not.

    Raises:
        MissingFileError, CorruptFileError: as `load_model`.
    """
    return recorded_architecture(_content_of(path))


def _content_of(path: Path) -> Any:
    is_ours = path.suffix == ".safetensors" or is_safetensors(first_bytes(path))
    return load_tensors(path)[0] if is_ours else read_torch_file(path)


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
