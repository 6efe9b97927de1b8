"""Tables of images and their labels: CSV, TSV, or JSON lines."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from io import BytesIO, TextIOWrapper
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

from foundation.documents import decoded, parse_json
from foundation.errors import DataLayoutError
from foundation.files import read_bounded
from pipeline.data.kinds import a_few, is_image, shown
from pipeline.data.layouts import Part, part_named
from pipeline.data.several_labels import ONE_LABEL_EACH

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


class Row(NamedTuple):
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


class _Columns(NamedTuple):
    """In which column each value stands; None where there is no such column."""

    path: int | None
    label: int | None
    split: int | None


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
    lines = _lines_of(path)
    if suffix in _JSON_LINES:
        rows = list(_json_rows(path, lines))
    else:
        rows = list(_csv_rows(path, lines, _SUFFIXES[suffix] or _separator(path)))
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


def _lines_of(path: Path) -> TextIOWrapper:
    """The table's text, line by line: all of it at once would be four times as large."""
    try:
        content = read_bounded(path, _LARGEST_TABLE)
        decoded(content)  # or an error would come in the middle
    except (ValueError, OSError) as error:
        raise DataLayoutError(f"{shown(path)}: {error}") from error
    if b"\0" in content:
        raise DataLayoutError(f"{shown(path)}: no text, or UTF-16; save it as UTF-8")
    return TextIOWrapper(BytesIO(content), "utf-8-sig", newline="")


def _separator(path: Path) -> str:
    """What stands most often in the first line of what may be commas, semicolons or tabs."""
    first = next((line for line in _lines_of(path) if line.strip()), "")
    return max(_SEPARATORS, key=first.count)


def _csv_rows(path: Path, lines: TextIOWrapper, separator: str) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    columns: _Columns | None = None
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataLayoutError(
                f"{shown(path)} line {reader.line_num}: no line of a table ({error}); correct it"
            ) from error
        if cells is None:
            return
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        if columns is None:
            columns, is_header = _columns(path, cells, reader.line_num)
            if is_header:
                continue
        yield _row(path, reader.line_num, cells, columns)


def _columns(path: Path, cells: Sequence[str], line: int) -> tuple[_Columns, bool]:
    """In which column each value stands, and whether the first line is one of column names."""
    columns = _columns_named(path, [cell.casefold() for cell in cells])
    if columns.path is not None and columns.label is not None:
        return columns, True
    # A line of values: an image's path, its label, and perhaps its split.
    if len(cells) in {2, 3} and is_image(cells[0]) and not is_image(cells[1]):
        if len(cells) == 2:
            return _Columns(0, 1, None), False
        if part_named(cells[2]):
            return _Columns(0, 1, 2), False
    missing = [name for name in (_PATH, _LABEL) if getattr(columns, name) is None]
    raise DataLayoutError(
        f"{shown(path)} line {line}: no column {' and no column '.join(map(repr, missing))} among "
        f"{a_few(cells, 6)}; write path,label or path,label,split above the lines"
    )


def _columns_named(path: Path, names: Sequence[str]) -> _Columns:
    """The columns by their names in small letters."""
    places: dict[str, int | None] = {}
    for column, known in _COLUMNS.items():
        there = [place for place, name in enumerate(names) if name in known]
        exact = [place for place in there if names[place] == column]
        if len(exact or there) > 1:
            both = a_few(names[place] for place in (exact or there))
            raise DataLayoutError(
                f"{shown(path)}: columns {both} may all be the {column}; call one of them "
                f"{column!r}"
            )
        places[column] = next(iter(exact or there), None)
    return _Columns(**places)


def _json_rows(path: Path, lines: TextIOWrapper) -> Iterator[Row]:
    columns: dict[tuple[str, ...], _Columns] = {}  # most lines name the same ones
    for number, line in enumerate(lines, start=1):
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
        names = tuple(entry)
        if names not in columns:
            columns[names] = _columns_named(path, [name.casefold() for name in names])
        label = columns[names].label
        if label is not None and isinstance(list(entry.values())[label], list):
            raise DataLayoutError(
                f"{shown(path)} line {number}: a list of labels, but {ONE_LABEL_EACH}"
            )
        yield _row(path, number, [_word(value) for value in entry.values()], columns[names])


def _word(value: Any) -> str:
    """A value as CSV has it; nothing of what is neither text nor a whole number."""
    return str(value) if isinstance(value, str) or type(value) is int else ""


def _row(path: Path, line: int, cells: Sequence[str], columns: _Columns) -> Row:
    file, label, split = (
        "" if place is None or place >= len(cells) else cells[place] for place in columns
    )
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
    return Row(line, file, intern(label.strip()), part)  # of a million labels few differ
