"""What an ONNX file tells of a classifier's classes: their names, and how many there are."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import onnx

from foundation.documents import parse_json

_KEYS = ("classes", "class_names", "names", "labels", "id2label", "idx_to_class", "class_to_idx")
"""Under which keys of its metadata programs note the classes, the likeliest first."""

_LONGEST_NOTE = 1 << 22


def recorded_classes(path: Path) -> tuple[str, ...] | None:
    """The names of its classes that its maker noted in an ONNX file, in the order of the logits.

    They may be JSON or, as of Ultralytics, Python: a list of names, or a table of numbers to names
    or of names to numbers. None where there are none, or no such file.
    """
    model = _opened(path)
    if model is None:
        return None
    notes = {entry.key.lower(): entry.value for entry in model.metadata_props}
    every = (_names_in(_value_of(notes[key])) for key in _KEYS if key in notes)
    return next((names for names in every if names), None)


def recorded_preprocessing(path: Path) -> str | None:
    """The preparation of images that its maker noted in an ONNX file, as JSON; ours are noted so.

    None where there is none, or no such file.
    """
    model = _opened(path)
    if model is None:
        return None
    notes = {entry.key: entry.value for entry in model.metadata_props}
    return notes.get("preprocessing")


def logit_count_of(path: Path) -> int | None:
    """How many logits an ONNX file gives; None where it does not tell."""
    model = _opened(path)
    if model is None or len(model.graph.output) != 1:
        return None
    sizes = model.graph.output[0].type.tensor_type.shape.dim
    count = sizes[-1].dim_value if len(sizes) == 2 else 0
    return count or None


def _opened(path: Path) -> onnx.ModelProto | None:
    try:
        return onnx.load(path, load_external_data=False)
    except Exception:  # what is wrong with it is told where it is adopted
        return None


def _value_of(note: str) -> Any:
    if len(note) > _LONGEST_NOTE:
        return None
    for parse in (parse_json, ast.literal_eval):
        try:
            return parse(note)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return None


def _names_in(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, dict):
        value = _in_order(value)
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    return None


def _in_order(table: dict[Any, Any]) -> list[Any] | None:
    """What a table of numbers to names, or of names to numbers, has at 0, 1, 2, …"""
    if all(type(value) is int for value in table.values()):
        table = {number: name for name, number in table.items()}
    try:
        places = {int(key): name for key, name in table.items()}
    except (ValueError, TypeError):
        return None
    if sorted(places) != list(range(len(table))):
        return None
    return [places[number] for number in range(len(places))]
