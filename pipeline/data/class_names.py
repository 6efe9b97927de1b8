"""Lists of class names in files: text with a name a line, or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foundation.documents import decoded, parse_json
from foundation.errors import DataLayoutError
from foundation.files import read_bounded
from pipeline.data.kinds import shown

_LARGEST_FILE = 1 << 24
# WordNet's ids, by which ImageNet calls its classes: n01440764.
_WORDNET_ID = re.compile(r"[nvars]\d{8}")

_Pair = tuple[str | None, str]
"""A class's id, where it has one, and its name."""


def read_names(path: Path) -> tuple[list[str], list[str]]:
    """The classes in a file, in its order.

    Args:
        path: text with a name a line, or with an id before it, and a tab or, behind a WordNet id, a
            blank between them; or JSON with a list of names, or with a table of numbers to names or
            of names to numbers.

    Returns:
        Their ids, none unless every class has one, and their names, which all differ.

    Raises:
        DataLayoutError: when it cannot be read, or holds no list of names that differ.
    """
    pairs = _json_pairs(path) if path.suffix.lower() == ".json" else _pairs(read_lines(path))
    ids = [first for first, _ in pairs if first is not None]
    names = [name for _, name in pairs]
    _check_names(path, names)
    return ids if len(ids) == len(names) else [], names


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, of which each is one of its own; the last ones may be empty.

    Raises:
        DataLayoutError: when it is no text, or a line is empty or stands there twice.
    """
    lines = [line.strip() for line in re.split(r"\r\n|\n|\r", _text_of(path).rstrip())]
    number_of: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line:
            raise DataLayoutError(
                f"{shown(path)} line {number}: empty; a line stands for a label, so take it out or "
                "write a name there"
            )
        if line in number_of:
            raise DataLayoutError(
                f"{shown(path)} line {number}: {line!r} stands in line {number_of[line]} too; name "
                "each class once"
            )
        number_of[line] = number
    return lines


def _text_of(path: Path) -> str:
    try:
        text = decoded(read_bounded(path, _LARGEST_FILE))
    except (ValueError, OSError) as error:
        raise DataLayoutError(f"{shown(path)}: {error}") from error
    if "\0" in text:
        raise DataLayoutError(f"{shown(path)}: no text, or UTF-16; save it as UTF-8")
    return text


def _pairs(lines: Sequence[str]) -> list[_Pair]:
    return [_pair(line) for line in lines]


def _pair(line: str) -> _Pair:
    first, tab, rest = line.partition("\t")
    if not tab:
        first, _, rest = line.partition(" ")
        if not _WORDNET_ID.fullmatch(first):
            return None, line
    return (first, rest.strip()) if rest.strip() else (None, first)


def _json_pairs(path: Path) -> list[_Pair]:
    try:
        content = parse_json(_text_of(path))
    except ValueError as error:
        raise DataLayoutError(f"{shown(path)}: not JSON ({error}); correct it") from error
    if isinstance(content, dict):
        content = _in_order(path, content)
    if not isinstance(content, list) or not content:
        raise DataLayoutError(
            f'{shown(path)}: no list of class names; write ["cat", "dog"], or '
            '{"0": "cat", "1": "dog"}'
        )
    return [_json_pair(path, entry) for entry in content]


def _in_order(path: Path, table: dict[str, Any]) -> list[Any]:
    """What a table of numbers to classes, or of classes to numbers, has at 0, 1, 2, …"""
    if all(type(value) is int for value in table.values()):
        places: dict[int, Any] = {number: name for name, number in table.items()}
    else:
        places = {int(key): name for key, name in table.items() if re.fullmatch(r"[0-9]+", key)}
    if sorted(places) != list(range(len(table))):
        raise DataLayoutError(
            f"{shown(path)}: its numbers must be 0 to {len(table) - 1}, each once, for they are "
            "the places of the logits; correct it"
        )
    return [places[number] for number in range(len(places))]


def _json_pair(path: Path, entry: Any) -> _Pair:
    if isinstance(entry, str):
        return None, entry
    # As Keras has it: ["n01440764", "tench"].
    if isinstance(entry, list) and len(entry) == 2 and all(isinstance(e, str) for e in entry):
        return entry[0], entry[1]
    raise DataLayoutError(
        f"{shown(path)}: {json.dumps(entry)[:80]} is no class name; write names in quotes"
    )


def _check_names(path: Path, names: Sequence[str]) -> None:
    known: set[str] = set()
    for name in names:
        if not name.strip() or not name.isprintable():
            raise DataLayoutError(
                f"{shown(path)}: {name!r} is no class name; write one that can be printed"
            )
        if name in known:
            raise DataLayoutError(
                f"{shown(path)}: {name!r} stands there twice; name each class once"
            )
        known.add(name)
