"""Tables of images and their labels: CSV, TSV, or JSON lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.documents import decoded, parse_json
from foundation.errors import DataLayoutError
from foundation.files import read_bounded
from pipeline.data.kinds import a_few, is_image, shown
from pipeline.data.layouts import Part, part_named

_LARGEST_TABLE = 1 << 29
_LONGEST_CELL = 1 << 16
_PATH, _LABEL, _SPLIT = "path", "label", "split"
_COLUMNS = {
    _PATH: ("path", "file", "filename", "file_name", "filepath", "image", "image_path"),
    _LABEL: ("label", "class", "class_name", "target", "category"),
    _SPLIT: ("split", "subset", "partition", "fold"),
}
"""What a column may be called, in small letters."""

_SUFFIXES: dict[str, str | None] = {".csv": None, ".tsv": "\t", ".tab": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
_SEPARATORS = (",", ";", "\t")


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        line: its number, counted from 1.
        path: of the image, as it stands there.
        label: the class's name.
        split: the part of the dataset; None where the table names none.
    """

    line: int
    path: str
    label: str
    split: Part | None = None


def is_table(path: Path) -> bool:
    """Whether a file is a table by its suffix."""
    return path.suffix.lower() in (*_SUFFIXES, *_JSON_LINES)


def read_rows(path: Path) -> list[Row]:
    """The rows of a table.

    A first line of column names may be left out where the first column is plainly an image's path.
    Columns beside path, label and split are passed over.

    Args:
        path: a file with the suffix csv, tsv, tab, jsonl or ndjson.

    Raises:
        DataLayoutError: when it is no such table, a column or a value lacks, or a value is none.
    """
    suffix = path.suffix.lower()
    if not is_table(path):
        raise DataLayoutError(
            f"{shown(path)}: no table by its suffix; call it .csv, .tsv or .jsonl, as what it is"
        )
    text = _text_of(path)
    rows = list(
        _json_rows(path, text)
        if suffix in _JSON_LINES
        else _csv_rows(path, text, _SUFFIXES[suffix])
    )
    if not rows:
        raise DataLayoutError(f"{shown(path)}: names no images; write a line for each")
    named = [row for row in rows if row.split is not None]
    if named and len(named) < len(rows):
        lone = next(row for row in rows if row.split is None)
        raise DataLayoutError(
            f"{shown(path)} line {lone.line}: no split, though other lines have one; write train, "
            "val or test"
        )
    return rows


def _text_of(path: Path) -> str:
    try:
        text = decoded(read_bounded(path, _LARGEST_TABLE))
    except (ValueError, OSError) as error:
        raise DataLayoutError(f"{shown(path)}: {error}") from error
    if "\0" in text:
        raise DataLayoutError(f"{shown(path)}: no text, or UTF-16; save it as UTF-8")
    return text


def _csv_rows(path: Path, text: str, separator: str | None) -> Iterator[Row]:
    first_line = text.lstrip().partition("\n")[0]
    separator = separator or max(_SEPARATORS, key=first_line.count)
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    pick: Callable[[Sequence[str]], dict[str, str]] | None = None
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataLayoutError(
                f"{shown(path)} line {reader.line_num}: no line of a table ({error}); correct it"
            ) from error
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        cells = [cell.strip() for cell in cells]
        if pick is None:
            pick, is_header = _columns(path, cells, reader.line_num)
            if is_header:
                continue
        yield _row(path, reader.line_num, pick(cells))


def _columns(
    path: Path, cells: Sequence[str], line: int
) -> tuple[Callable[[Sequence[str]], dict[str, str]], bool]:
    """How to pick the values out of a line, and whether the first line is one of column names."""
    places = _places(path, [cell.casefold() for cell in cells])
    if _PATH in places and _LABEL in places:
        return _picker(places), True
    # A line of values: an image's path, its label, and perhaps its split.
    if len(cells) in {2, 3} and is_image(cells[0]) and not is_image(cells[1]):
        if len(cells) == 2:
            return _picker({_PATH: 0, _LABEL: 1}), False
        if part_named(cells[2]):
            return _picker({_PATH: 0, _LABEL: 1, _SPLIT: 2}), False
    missing = [name for name in (_PATH, _LABEL) if name not in places]
    raise DataLayoutError(
        f"{shown(path)} line {line}: no column {' and no column '.join(map(repr, missing))} among "
        f"{a_few(cells, 6)}; write path,label or path,label,split above the lines"
    )


def _places(path: Path, names: Sequence[str]) -> dict[str, int]:
    """In which column each value stands."""
    places: dict[str, int] = {}
    for column, known in _COLUMNS.items():
        there = [place for place, name in enumerate(names) if name in known]
        exact = [place for place in there if names[place] == column]
        if len(exact or there) > 1:
            both = a_few(names[place] for place in (exact or there))
            raise DataLayoutError(
                f"{shown(path)}: columns {both} may all be the {column}; call one of them "
                f"{column!r}"
            )
        if there:
            places[column] = (exact or there)[0]
    return places


def _picker(places: dict[str, int]) -> Callable[[Sequence[str]], dict[str, str]]:
    def pick(cells: Sequence[str]) -> dict[str, str]:
        return {column: cells[place] for column, place in places.items() if place < len(cells)}

    return pick


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = parse_json(line)
        except ValueError as error:
            raise DataLayoutError(
                f"{shown(path)} line {number}: not JSON ({error}); each line is an object of its "
                "own"
            ) from error
        if not isinstance(entry, dict):
            raise DataLayoutError(
                f'{shown(path)} line {number}: no object; write {{"path": …, "label": …}}'
            )
        names = list(entry)
        places = _places(path, [name.casefold() for name in names])
        values = {column: _word(entry[names[place]]) for column, place in places.items()}
        yield _row(path, number, values)


def _word(value: Any) -> str:
    """A value as CSV has it; nothing of what is neither text nor a whole number."""
    return str(value) if isinstance(value, str) or type(value) is int else ""


def _row(path: Path, line: int, values: dict[str, str]) -> Row:
    file, label, split = (values.get(column, "") for column in (_PATH, _LABEL, _SPLIT))
    for column, value in ((_PATH, file), (_LABEL, label)):
        if not value.strip():
            raise DataLayoutError(
                f"{shown(path)} line {line}: no {column}; write one, or take the line out"
            )
    if not label.isprintable():
        raise DataLayoutError(
            f"{shown(path)} line {line}: {label!r} is no label; write a name that can be printed"
        )
    part = part_named(split) if split else None
    if split and part is None:
        raise DataLayoutError(
            f"{shown(path)} line {line}: {split!r} is no split; write train, val or test"
        )
    return Row(line, file, label.strip(), part)
