"""Which of the tensors in somebody's checkpoint are the weights of a network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

COUNTER = "num_batches_tracked"

_DEEPEST = 3
_NOT_WEIGHTS = re.compile(
    r"optimi[sz]er|^optim$|^opt(_|$)|sched|scaler|(^|_)rng|callback|^loops$", re.IGNORECASE
)
_AVERAGED = re.compile(r"(?<![a-z])(ema|swa|averaged|avg|polyak|shadow)(?![a-z])", re.IGNORECASE)

_WRAPPERS = (
    "module", "_orig_mod", "model", "net", "network", "backbone", "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
)  # fmt: skip
"""Parts that wrappers put into names, at any depth and in any order."""

_ONLY_FOR_TRAINING = re.compile(
    r"(.*\.)?(total_ops|total_params|n_averaged|num_batches_tracked)"
    r"|(criterion|criteria|loss|losses|loss_fn|loss_func|metrics?|teacher|aux\w*)(\.\w+)+"
    r"|(train|val|valid|test)_(acc|accuracy|metrics?|loss|f1)\w*(\.\w+)+",
    re.IGNORECASE,
)
"""What nothing is lost without: counters of profilers and averages, losses, side heads."""


@dataclass(frozen=True)
class Reading:
    """The weights of a network as one set in a checkpoint has them.

    Attributes:
        place: keys under which the set lies, joined by dots; empty where it is all there is.
        prefix: what stands before each name there; None where that differs from name to name.
        tensors: by the network's own names.
        missing: names of the network's that are not there; counters aside.
        reshaped: names of tensors that have another shape.
        unknown: names there that the network should have and has not.
        passed_over: names there that it does not need.
        averaged: whether it is a running mean of the weights that were trained (EMA, SWA).
    """

    place: str
    prefix: str | None
    tensors: Mapping[str, Tensor] = field(repr=False)
    missing: Sequence[str]
    reshaped: Sequence[str]
    unknown: Sequence[str]
    passed_over: Sequence[str]
    averaged: bool

    @property
    def complete(self) -> bool:
        return not (self.missing or self.reshaped or self.unknown)

    @property
    def problems(self) -> int:
        return len(self.missing) + len(self.reshaped) + len(self.unknown)

    @property
    def names(self) -> list[str]:
        """What a user may call it by, the shortest first."""
        inner = (self.prefix or "").rstrip(".")
        return [name for name in (self.place, inner, f"{self.place}.{inner}".strip(".")) if name]


@dataclass(frozen=True)
class WeightSet:
    """Tensors by name, and under which keys they lie in a checkpoint."""

    place: str
    tensors: dict[str, Tensor] = field(repr=False)

    def readings(self, expected: Mapping[str, Tensor]) -> list[Reading]:
        """Each way in which it may be read as a network's weights.

        Args:
            expected: the network's weights and buffers, by name.
        """
        prefixes = self._prefixes(expected)
        readings = [self._under(prefix, prefixes, expected) for prefix in prefixes]
        if any(reading.complete for reading in readings):
            return readings
        return [*readings, self._without_wrappers(expected)]

    def _prefixes(self, expected: Mapping[str, Tensor]) -> list[str]:
        """What may stand before the network's names: what stands before the longest of them."""
        needed = [name for name in expected if not name.endswith(COUNTER)] or list(expected)
        anchor = max(needed, key=len, default="")
        before = {n[: len(n) - len(anchor)] for n in self.tensors if anchor and n.endswith(anchor)}
        return sorted(prefix for prefix in before if not prefix or prefix.endswith("."))

    def _under(
        self, prefix: str, prefixes: Sequence[str], expected: Mapping[str, Tensor]
    ) -> Reading:
        names = {name: prefix + name for name in expected if prefix + name in self.tensors}
        elsewhere = tuple(p for p in prefixes if p and p != prefix and not prefix.startswith(p))
        inside = {name for name in self.tensors if name.startswith(prefix)}
        rest = [name for name in inside - set(names.values()) if not name.startswith(elsewhere)]
        return self._reading(prefix, names, rest, expected)

    def _without_wrappers(self, expected: Mapping[str, Tensor]) -> Reading:
        """The set with all that wrappers put into names left out, and the network's likewise."""
        stored_names, expected_names = _bare_names(self.tensors), _bare_names(expected)
        names = {
            expected_names[bare]: stored_names[bare]
            for bare in expected_names
            if bare in stored_names
        }
        rest = sorted(set(self.tensors) - set(names.values()))
        return self._reading(None, names, rest, expected)

    def _reading(
        self,
        prefix: str | None,
        names: Mapping[str, str],
        rest: Sequence[str],
        expected: Mapping[str, Tensor],
    ) -> Reading:
        tensors = {name: self.tensors[stored_name] for name, stored_name in names.items()}
        # Files of safetensors hold what two names share under one of them.
        groups = [names for names in sharing(expected) if any(name in tensors for name in names)]
        shared = {name for group in groups for name in group}
        used, start = set(names.values()), len(prefix or "")
        unknown = sorted(n for n in rest if not _ONLY_FOR_TRAINING.fullmatch(n[start:]))
        return Reading(
            self.place,
            prefix,
            tensors,
            missing=[
                n for n in expected if not (n in tensors or n in shared or n.endswith(COUNTER))
            ],
            reshaped=[n for n, tensor in tensors.items() if tensor.shape != expected[n].shape],
            unknown=[name[start:] for name in unknown],
            passed_over=sorted(set(self.tensors) - used - set(unknown)),
            averaged=bool(_AVERAGED.search(f"{self.place}.{prefix or ''}"))
            or "n_averaged" in self.tensors,
        )


def weight_sets(content: Any) -> list[WeightSet]:
    """All sets of tensors by name in a checkpoint, an optimizer's state left out."""
    visited: set[int] = set()

    def walk(part: Any, place: tuple[str, ...]) -> Iterator[WeightSet]:
        # A dictionary in a pickle may hold itself.
        if id(part) in visited or len(place) > _DEEPEST:
            return
        visited.add(id(part))
        pairs = _pairs(part)
        tensors = {key: value for key, value in pairs if isinstance(value, Tensor)}
        if tensors and isinstance(part, Mapping):
            yield WeightSet(".".join(place), tensors)
        for key, value in pairs:
            if not _NOT_WEIGHTS.search(key):
                yield from walk(value, (*place, key))

    return list(walk(content, ()))


def sharing(tensors: Mapping[str, Tensor]) -> list[list[str]]:
    """Names of tensors that are one and the same in memory; each has two or more."""
    groups: dict[tuple[int, torch.Size], list[str]] = {}
    for name, tensor in tensors.items():
        if not tensor.is_meta and tensor.layout == torch.strided and tensor.numel():
            groups.setdefault((tensor.data_ptr(), tensor.shape), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def same_values(first: Reading, second: Reading) -> bool:
    """Whether two readings give a network the very same weights."""
    if first.tensors.keys() != second.tensors.keys():
        return False
    pairs = ((tensor, second.tensors[name]) for name, tensor in first.tensors.items())
    return all(a is b or (a.dtype == b.dtype and equal(a, b)) for a, b in pairs)


def equal(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors hold the same values; False where that cannot be told."""
    try:
        return torch.equal(first, second)
    except (RuntimeError, NotImplementedError):  # sparse, quantised, without data
        return False


def _pairs(part: Any) -> list[tuple[str, Any]]:
    if isinstance(part, Mapping):
        return [(key, value) for key, value in part.items() if isinstance(key, str)]
    if isinstance(part, list | tuple):
        return [(str(place), value) for place, value in enumerate(part[:16])]
    return []


def _bare_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Names by what is left of them without wrappers' parts; those that then clash are left out."""
    bare: dict[str, list[str]] = {}
    for name in tensors:
        parts = [part for part in name.split(".") if part not in _WRAPPERS]
        bare.setdefault(".".join(parts), []).append(name)
    return {short: names[0] for short, names in bare.items() if len(names) == 1}


class Readings:
    """All readings of a checkpoint for one network, and the choice among them.

    Args:
        content: the checkpoint's content.
        expected: the network's weights and buffers, by name.

    Attributes:
        unnamed: running means that cannot be taken, for their tensors have no names.
    """

    def __init__(self, content: Any, expected: Mapping[str, Tensor]) -> None:
        self.sets = weight_sets(content)
        self.unnamed = [
            key
            for key, part in (_pairs(content) if isinstance(content, Mapping) else [])
            if _AVERAGED.search(key)
            and isinstance(part, Mapping | list | tuple)
            and part
            and not any(weight_set.place.split(".")[0] == key for weight_set in self.sets)
        ]
        self.readings = [
            reading for weight_set in self.sets for reading in weight_set.readings(expected)
        ]

    @cached_property
    def complete(self) -> list[Reading]:
        """Those that have all of a network's weights; of equal ones the first."""
        distinct: list[Reading] = []
        for reading in self.readings:
            if reading.complete and not any(same_values(reading, earlier) for earlier in distinct):
                distinct.append(reading)
        return distinct

    def nearest(self) -> Reading:
        """The one with the fewest problems."""
        return min(self.readings, key=lambda reading: reading.problems)

    def called(self, key: str) -> list[Reading]:
        """Those that a user means by a name."""
        key = key.rstrip(".")
        matching = [reading for reading in self.readings if key in reading.names]
        return [reading for reading in matching if reading.complete] or matching

    def label(self, reading: Reading) -> str:
        """The shortest name that a reading has for itself; empty where it has none."""
        other_names = [
            name
            for alternative in self.complete
            if alternative is not reading
            for name in alternative.names
        ]
        return next(
            (name for name in reading.names if name not in other_names),
            next(iter(reading.names), ""),
        )
