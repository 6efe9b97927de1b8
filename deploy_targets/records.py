"""Typed records from parsed JSON or TOML, strictly: every key known, every type right.

A field whose name would be a Python keyword ends in an underscore, which its key lacks.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any, TypeVar

from foundation.errors import nearest

T = TypeVar("T")

_TYPE_NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


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
        RecordError: on an unknown key (with the nearest known one), a missing key or a wrong type.
    """
    if not isinstance(raw, dict):
        raise RecordError(f"{_named(key)} must be a table, but got {raw!r}")
    fields = {f.name.rstrip("_"): f for f in dataclasses.fields(typing.cast(Any, record))}
    for name in raw:
        if name not in fields:
            close = nearest(str(name), fields)
            hint = f", did you mean {_join(key, close)!r}?" if close else ""
            raise RecordError(f"unknown key {_join(key, name)!r}{hint}")
    hints = typing.get_type_hints(record)
    values = {}
    for name, field in fields.items():
        if name in raw:
            values[field.name] = _value(hints[field.name], raw[name], _join(key, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise RecordError(f"missing key {_join(key, name)!r}")
    return record(**values)


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
    if hint is float and type(raw) is int:
        return float(raw)
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Literal:
        return _one_of(arguments, raw, key)
    if type(raw) is not origin:
        raise RecordError(f"{_named(key)} must be {_TYPE_NAMES[origin]}, but got {raw!r}")
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
        raise RecordError(f"{_named(key)} must be one of {names}, but got {raw!r}")
    return raw


def _without_none(hint: Any) -> tuple[Any, bool]:
    """`X | None` as (X, True), anything else as (itself, False)."""
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return hint, False
    (inner,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
    return inner, True


def _join(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)


def _named(key: str) -> str:
    return f"key {key!r}" if key else "the whole"
