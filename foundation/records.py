"""Typed records from parsed JSON or TOML, strictly: every key known, every type right, and every
value one that can be. This is the one way in which a file of ours becomes a record.

A record that has a method `problems`, which yields what of it cannot be, is asked when it is built.
A field whose name would be a Python keyword ends in an underscore, which its key lacks. A record
that sets `FURTHER_KEYS` passes over keys that it does not know, which another version has written;
`foundation.sense` has the words for what cannot be.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

from foundation.documents import parse_json
from foundation.errors import CorruptFileError, nearest
from foundation.files import read_json

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


class _Sensible(Protocol):
    def problems(self) -> Iterator[str]: ...


class RecordError(ValueError):
    """What was read does not fit the record; the message names the key."""


def read_record(path: Path, record: type[T], description: str, advice: str) -> T:
    """Read a JSON file as a record.

    Args:
        path: the file.
        record: a dataclass, as `build` takes it. Of its fields `kind` and `schema_version`, where
            it has them, the defaults are what the file must say.
        description: what the file holds, in words: "a measurement".
        advice: what to do where it is another; the end of the message.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is anything else than such a record.
    """
    return record_in(read_json(path, advice), path, record, description, advice)


def record_in(raw: object, path: Path, record: type[T], description: str, advice: str) -> T:
    """What was read from a file, as a record; arguments and errors as `read_record`."""
    marks = _marks_of(record)
    if marks and not (isinstance(raw, dict) and all(_is_same(raw.get(k), marks[k]) for k in marks)):
        version = marks.get("schema_version")
        of = "" if version is None else f" of schema version {version}"
        raise CorruptFileError(f"{path}: not {description}{of}; {advice}")
    try:
        return build(record, raw)
    except RecordError as error:
        raise CorruptFileError(f"{path}: not {description} ({error}); {advice}") from error


def record_on_line(
    path: Path, number: int, text: bytes, record: type[T], *, description: str, advice: str
) -> T:
    """Make a dataclass of one line of a file of JSON lines.

    Args:
        path: the file, for messages.
        number: of the line, from 1.
        text: the line.
        record: as `build` takes it.
        description: what the line should be, for messages, such as "the result of an arm".
        advice: what to do when it is not that.

    Raises:
        CorruptFileError: when it is not.
    """
    try:
        return build(record, parse_json(text))
    except ValueError as error:
        raise CorruptFileError(
            f"{path}: line {number} is not {description} ({error}); {advice}"
        ) from error


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
    fields, hints = _fields_of(typing.cast(Any, record))
    tolerant = getattr(record, "FURTHER_KEYS", False)
    for name in raw:
        if name not in fields and not tolerant:
            close = nearest(str(name)[:_LONGEST], fields)
            hint = f", did you mean {_join(key, close)!r}?" if close else ""
            raise RecordError(f"unknown key {_short(_join(key, name))}{hint}")
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


def part_of(record: type[T], source: object, **changes: Any) -> T:
    """A dataclass of what another has under the same names.

    Args:
        record: the dataclass to make.
        source: has its fields, or some of them.
        changes: what it has not, or what is other than there.
    """
    names = [field.name for field in dataclasses.fields(typing.cast(Any, record)) if field.init]
    shared = {name: getattr(source, name) for name in names if hasattr(source, name)}
    return record(**{**shared, **changes})


def problems_of(record: object) -> Iterator[str]:
    """What of a record cannot be, where it has a word for it."""
    # Not by isinstance of the protocol, which takes longer than all else of a small record.
    if hasattr(type(record), "problems"):
        yield from typing.cast(_Sensible, record).problems()


def as_dict(record: Any) -> dict[str, Any]:
    """The record as plain data, keys as `build` reads them."""
    return dataclasses.asdict(
        record, dict_factory=lambda pairs: {name.rstrip("_"): value for name, value in pairs}
    )


def misfits(record: type[Any], raw: object, key: str) -> Iterator[str]:
    """Why plain data within a record, which stays as it is, is no such record; for `problems`."""
    try:
        build(record, raw, key)
    except RecordError as error:
        yield str(error)


@functools.cache
def _fields_of(record: type) -> tuple[dict[str, dataclasses.Field[Any]], dict[str, Any]]:
    """A record's fields by their keys, and their types by their names."""
    fields = dataclasses.fields(typing.cast(Any, record))
    return {field.name.rstrip("_"): field for field in fields}, typing.get_type_hints(record)


def _marks_of(record: type) -> dict[str, Any]:
    """What a file must say of itself to be of a record."""
    fields, _ = _fields_of(record)
    marks = {name: fields[name].default for name in ("kind", "schema_version") if name in fields}
    return {name: mark for name, mark in marks.items() if mark is not dataclasses.MISSING}


def _is_same(value: object, mark: object) -> bool:
    # True is 1 to Python, and to no reader of JSON else.
    return type(value) is type(mark) and value == mark


def _value(hint: Any, raw: object, key: str) -> Any:
    options, optional = _options_of(hint)
    if optional and raw is None:
        return raw
    fitting = [option for option in options if type(raw) is (typing.get_origin(option) or option)]
    hint = fitting[0] if len(options) > 1 and fitting else options[0]
    if hint is Any:
        return raw
    if len(options) > 1 and not fitting:
        names = " or ".join(_TYPE_NAMES[typing.get_origin(option) or option] for option in options)
        raise RecordError(f"{_named(key)} must be {names}, but got {_short(raw)}")
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
    if not any(_is_same(raw, name) for name in known):
        names = ", ".join(map(repr, known))
        raise RecordError(f"{_named(key)} must be one of {names}, but got {_short(raw)}")
    return raw


@functools.cache
def _options_of(hint: Any) -> tuple[tuple[Any, ...], bool]:
    """`X | Y | None` as ((X, Y), True), anything else as ((itself,), False)."""
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return (hint,), False
    parts = typing.get_args(hint)
    options = tuple(part for part in parts if part is not types.NoneType)
    return options, len(options) < len(parts)


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
