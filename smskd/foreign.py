"""Weights as other programs write them: found in their checkpoints, and fitted to a network."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foundation.errors import CorruptFileError, MissingFileError, WeightsMismatchError

NESTED_UNDER = (
    "state_dict", "model_state_dict", "model", "net", "network", "weights", "params",
    "model_ema", "state_dict_ema", "ema_state_dict", "ema",
)  # fmt: skip
"""Where a checkpoint keeps its weights; the first of these that holds tensors is taken."""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
"""What wrappers put before every name; taken away, in any combination, where the rest then fits."""

_SHOWN = 3
_DEEPEST = 3
_COUNTER = "num_batches_tracked"


def read_torch(path: Path) -> dict[str, Tensor]:
    """The weights in a torch checkpoint. Code that it may hold is never run.

    They may be the whole content, or lie under one of `NESTED_UNDER` (else under the first name
    that holds nothing but tensors), beside an optimizer's state, settings and the like.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it cannot be read, holds Python objects, or no weights.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # what an unpickler raises on damaged bytes is anyone's guess
        raise CorruptFileError(
            f"{path}: not a torch checkpoint of plain tensors{_objects_in(error)}; save "
            "`model.state_dict()` alone, with safetensors or torch.save"
        ) from error
    tensors = _find_tensors(content)
    if tensors is None:
        raise CorruptFileError(f"{path}: not a state dict; save `model.state_dict()` alone")
    return tensors


def load_state(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Put weights into a network, all or nothing.

    Prefixes that wrappers leave are taken away where the names then fit. Batch-norm counters that
    are missing stay as they are.

    Args:
        model: the network.
        tensors: its weights and buffers, by name.
        source: where they are from, for messages.

    Raises:
        WeightsMismatchError: when names or shapes differ.
    """
    wanted = model.state_dict()
    fitting = min(_without_prefixes(tensors), key=lambda found: _strangers(wanted, found))
    counters = {name: wanted[name] for name in wanted if name.endswith(_COUNTER)}
    fitting = {**counters, **fitting}
    _check_fit(model, fitting, source)
    model.load_state_dict(fitting)


def _objects_in(error: Exception) -> str:
    """What torch refused to unpickle, if that is what went wrong."""
    named = re.search(r"GLOBAL ([\w.]+)|[Cc]lass ([\w.]+)", str(error))
    if not named:
        return ""
    return f" (it holds {named[1] or named[2]}, and objects can run code, so it was not loaded)"


def _find_tensors(content: Any, depth: int = 0) -> dict[str, Tensor] | None:
    if _is_state_dict(content):
        return dict(content)
    # A dictionary in a pickle may hold itself.
    if not isinstance(content, Mapping) or depth == _DEEPEST:
        return None
    nested = (content[name] for name in NESTED_UNDER if name in content)
    found = (_find_tensors(inner, depth + 1) for inner in nested)
    others = (dict(inner) for inner in content.values() if _is_state_dict(inner))
    return next((tensors for tensors in (*found, *others) if tensors), None)


def _is_state_dict(content: Any) -> bool:
    if not isinstance(content, Mapping) or not content:
        return False
    return all(isinstance(name, str) and isinstance(t, Tensor) for name, t in content.items())


def _without_prefixes(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The weights as they are, then with one wrapper's prefix after another taken away."""
    found = dict(tensors)
    yield found
    while found:
        shared = [p for p in PREFIXES if all(name.startswith(p) for name in found)]
        if not shared:
            return
        found = {name.removeprefix(shared[0]): tensor for name, tensor in found.items()}
        yield found


def _strangers(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> int:
    """How many names only one of the two has."""
    return len(wanted.keys() ^ found.keys())


def _check_fit(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights that have not a network's very names and shapes."""
    wanted = model.state_dict()
    reshaped = [
        name for name in wanted if name in tensors and tensors[name].shape != wanted[name].shape
    ]
    shapes = [
        f"{name} is {tuple(tensors[name].shape)} there, {tuple(wanted[name].shape)} here"
        for name in reshaped
    ]
    missing = [name for name in wanted if name not in tensors]
    unknown = [name for name in tensors if name not in wanted]
    if not (shapes or missing or unknown):
        return
    groups = (
        _listed(shapes, "; ", ""),
        _listed(missing, ", ", "missing there: "),
        _listed(unknown, ", ", "unknown here: "),
    )
    problems = "; ".join(group for group in groups if group)
    classes = None if missing or unknown else _class_counts(tensors, wanted, reshaped)
    trouble = (
        f"these weights know {classes[0]} classes, the {type(model).__name__} here has {classes[1]}"
        if classes
        else f"these weights do not fit {type(model).__name__}"
    )
    raise WeightsMismatchError(
        f"{source}: {trouble}: {problems}. "
        "Name the architecture and the number of classes they were trained for"
    )


def _class_counts(
    there: Mapping[str, Tensor], here: Mapping[str, Tensor], reshaped: list[str]
) -> tuple[int, int] | None:
    """Class counts there and here, if these alone tell the tensors apart."""
    counts = {(there[n].shape[:1], here[n].shape[:1]) for n in reshaped}
    if len(counts) > 1 or any(there[n].shape[1:] != here[n].shape[1:] for n in reshaped):
        return None
    ((first, second),) = counts
    return (first[0], second[0]) if first and second else None


def _listed(problems: list[str], separator: str, heading: str) -> str:
    if not problems:
        return ""
    rest = len(problems) - _SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return f"{heading}{separator.join(problems[:_SHOWN])}{more}"
