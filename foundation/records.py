"""Typed records from parsed JSON or TOML, strictly: every key known, every type right, and every
value one that can be.

A record that has a method `problems`, which yields what of it cannot be, is asked when it is built.
A field whose name would be a Python keyword ends in an underscore, which its key lacks.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar, runtime_checkable

from foundation.errors import nearest

T = TypeVar("T")

# No count and no size that is ours comes near it; C's own whole numbers end there.
_BEYOND = 2**63
_LONGEST = 100

_TYPE_NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


@runtime_checkable
class _Sensible(Protocol):
    def problems(self) -> Iterator[str]: ...


class RecordError(ValueError):
    """What was read does not fit the record; the message names the key."""


def build(record: type[T], raw: object, key: str = "") -> T:
    """Make a dataclass of parsed data.

    Args:
        record: a dataclass whose fields are scalars, `X | None`, `list[X]`,
            `dict[str, X]`, `Literal`, `Any` or dataclasses.
        raw: what a JSON or TOML parser gave.
        key: where `raw` stands in the file, for messages, such as "quantization".

    Raises:
        RecordError: on an unknown key (with the nearest known one), a missing key, a wrong type or
            a value that cannot be.
    """
    if not isinstance(raw, dict):
        raise RecordError(f"{_named(key)} must be a table, but got {_short(raw)}")
    fields = {f.name.rstrip("_"): f for f in dataclasses.fields(typing.cast(Any, record))}
    for name in raw:
        if name not in fields:
            close = nearest(str(name)[:_LONGEST], fields)
            hint = f", did you mean {_join(key, close)!r}?" if close else ""
            raise RecordError(f"unknown key {_short(_join(key, name))}{hint}")
    hints = typing.get_type_hints(record)
    values = {}
    for name, field in fields.items():
        if name in raw:
            values[field.name] = _value(hints[field.name], raw[name], _join(key, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise RecordError(f"missing key {_join(key, name)!r}")
    made = record(**values)
    for problem in problems_of(made):
        raise RecordError(f"key {key!r}: {problem}" if key else problem)
    return made


def problems_of(record: object) -> Iterator[str]:
    """What of a record cannot be, where it has a word for it."""
    if isinstance(record, _Sensible):
        yield from record.problems()


def as_dict(record: Any) -> dict[str, Any]:
    """The record as plain data, keys as `build` reads them."""
    return dataclasses.asdict(
        record, dict_factory=lambda pairs: {name.rstrip("_"): value for name, value in pairs}
    )


def _value(hint: Any, raw: object, key: str) -> Any:
    hint, optional = _without_none(hint)
    if hint is Any or (optional and raw is None):
        return raw
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), raw, key)
    if type(raw) is int and abs(raw) >= _BEYOND:
        raise RecordError(f"{_named(key)} must be a number below 2^63, but got {_short(raw)}")
    if hint is float and type(raw) is int:
        return float(raw)
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Literal:
        return _one_of(arguments, raw, key)
    if type(raw) is not origin:
        raise RecordError(f"{_named(key)} must be {_TYPE_NAMES[origin]}, but got {_short(raw)}")
    if isinstance(raw, float) and not math.isfinite(raw):
        raise RecordError(f"{_named(key)} must be a finite number, but got {raw}")
    return _items(arguments, raw, key)


def _items(arguments: tuple[Any, ...], raw: object, key: str) -> Any:
    """The items of a list or a table, each as its type says; anything else as it is."""
    if isinstance(raw, list):
        return [_value(arguments[0], item, f"{key}[{i}]") for i, item in enumerate(raw)]
    if isinstance(raw, dict):
        return {name: _value(arguments[1], item, _join(key, name)) for name, item in raw.items()}
    return raw


def _one_of(known: tuple[Any, ...], raw: object, key: str) -> Any:
    if raw not in known:
        names = ", ".join(map(repr, known))
        raise RecordError(f"{_named(key)} must be one of {names}, but got {_short(raw)}")
    return raw


def _without_none(hint: Any) -> tuple[Any, bool]:
    """`X | None` as (X, True), anything else as (itself, False)."""
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return hint, False
    (inner,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
    return inner, True


def _short(raw: object) -> str:
    """A value as it is written, cut where it goes on for too long."""
    # Python refuses to write a whole number of more digits than this.
    if isinstance(raw, int) and raw.bit_length() > 4 * _LONGEST:
        return f"one of {raw.bit_length()} bits"
    try:
        words = repr(raw)
    except (ValueError, RecursionError):  # such a number within it, or nested too deeply
        return f"a {type(raw).__name__} that cannot be written"
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"


def _join(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)


def _named(key: str) -> str:
    return f"key {key!r}" if key else "the whole"
