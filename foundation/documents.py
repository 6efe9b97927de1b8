"""JSON and TOML as they are read: anybody may have written them, so what they hold is bounded.

A document is UTF-8 (a byte-order mark is passed over), no larger than a limit, nested no deeper
than `DEEPEST`, and holds only what every reader bears: whole numbers of at most 64 bits, finite
numbers, and text that can be written again. `foundation.files` reads them from disk.
"""

from __future__ import annotations

import codecs
import json
import math
import tomllib
from collections import Counter
from typing import Any

LARGEST_JSON = 64 << 20
LARGEST_TOML = 1 << 20
DEEPEST = 64

_SMALLEST_WHOLE, _LARGEST_WHOLE = -(2**63), 2**64 - 1
_OTHER_UNICODE = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
# A chain of keys and indices from the innermost outwards.
_Place = tuple[Any, "_Place"] | None


def parse_json(content: str | bytes) -> Any:
    """What a JSON document says.

    Raises:
        ValueError: when it is no JSON, names a key twice, or goes beyond the bounds; one line.
    """
    text = decoded(content) if isinstance(content, bytes) else content
    try:
        value = json.loads(text, object_pairs_hook=_each_key_once)
    except RecursionError:
        raise _too_deep() from None
    _check(value)
    return value


def parse_toml(content: str | bytes) -> dict[str, Any]:
    """What a TOML document says.

    Raises:
        ValueError: when it is no TOML or goes beyond the bounds; one line.
    """
    text = decoded(content) if isinstance(content, bytes) else content
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise _too_deep() from None
    _check(table)
    return table


def decoded(content: bytes) -> str:
    """The text of a document.

    Raises:
        ValueError: when it is not UTF-8; with the line, and what to do.
    """
    for mark, name in _OTHER_UNICODE:
        if content.startswith(mark):
            raise ValueError(f"it is {name} text; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"byte 0x{error.object[error.start]:02X} in line {line} is not UTF-8; "
            "save the file as UTF-8"
        ) from error


def _check(document: Any) -> None:
    """Go through a document without recursion: a parser's own stack may bear more than ours."""
    waiting: list[tuple[Any, _Place, int]] = [(document, None, 0)]
    while waiting:
        value, place, depth = waiting.pop()
        if isinstance(value, dict | list):
            if depth >= DEEPEST:
                raise _too_deep()
            inside = value.items() if isinstance(value, dict) else enumerate(value)
            for key, inner in inside:
                if isinstance(key, str):
                    _check_text(key, place)
                waiting.append((inner, (key, place), depth + 1))
        else:
            _check_scalar(value, place)


def _check_scalar(value: Any, place: _Place) -> None:
    if isinstance(value, str):
        _check_text(value, place)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{_named(place)} is {value}, which is no finite number")
    elif isinstance(value, int):
        if not _SMALLEST_WHOLE <= value <= _LARGEST_WHOLE:
            raise ValueError(f"{_named(place)} is a whole number of more than 64 bits")
    elif value is not None:
        raise ValueError(f"{_named(place)} is a {type(value).__name__}, which no key takes")


def _check_text(text: str, place: _Place) -> None:
    # A lone half of a character pair can be written nowhere, and no path holds a NUL.
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError(f"{_named(place)} holds half a character (a lone surrogate)")
    if "\0" in text:
        raise ValueError(f"{_named(place)} holds a NUL character")


def _too_deep() -> ValueError:
    return ValueError(f"it is nested more than {DEEPEST} deep")


def _named(place: _Place) -> str:
    """A place as messages name it, "stages[0].lr"; the outer end of a long one is enough."""
    parts: list[Any] = []
    while place is not None:
        key, place = place
        parts.append(key)
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts[::-1])
    shown = dotted.lstrip(".")[:200].encode("utf-8", "backslashreplace").decode()
    return shown or "its value"


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Of two equal keys Python keeps the last and others the first, so the file means nothing.
    table = dict(pairs)
    if len(table) != len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"key {twice[:200]!r} stands there twice")
    return table
