"""Every key of a recipe, from the sections that validate it."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from _reference.markdown import cell, page, table, words
from pipeline.recipe.file import hints_of
from pipeline.recipe.keys import key_at, places
from pipeline.recipe.sections.recipe import Recipe
from pipeline.recipe.sections.training import StageRecipe

_TOP = "The recipe itself"


def pages() -> dict[str, str]:
    """One page: a table for each table of the recipe."""
    tables = {_table(place): [] for place in places()}
    for place in places():
        tables[_table(place)].append(_row(place))
    parts = [
        f"## {_heading(name)}\n\n" + table(["key", "type", "default", "what it says"], rows)
        for name, rows in tables.items()
    ]
    return {
        "recipe.md": page(
            "Keys of a recipe",
            "A recipe is a TOML file; `compress recipes NAME` prints one that ships. "
            "`--set KEY=VALUE` sets any key from the command line; a stage's by its number, "
            "counted from 0: `--set stages.0.epochs=5`. A key that is misspelt is named with its "
            "line and the nearest key.",
            *parts,
        )
    }


def _table(place: str) -> str:
    return place.rpartition(".")[0]


def _heading(name: str) -> str:
    if not name:
        return _TOP
    if name.startswith("stages.0"):
        name = name.replace("stages.0", "stages", 1)
        return f"`[[{name.replace('.0', '')}]]`"
    return f"`[{name}]`"


def _row(place: str) -> list[str]:
    key = key_at(place)
    kind = " or ".join(key.choices) if key.choices else _type_name(key.type)
    kind = f"list of {kind}" if key.is_list else kind
    return [cell(key.name), words(kind), cell(_default(place)), words(key.words)]


def _type_name(kind: Any) -> str:
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    if kind in names:
        return names[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _type_name(arguments[0])
    if origin in {list, tuple}:
        return f"list of {_type_name(arguments[0])}"
    if origin in {typing.Union, types.UnionType}:
        parts = [part for part in arguments if part is not type(None)]
        return " or ".join(dict.fromkeys(map(_type_name, parts)))
    return "table" if hints_of(kind) or kind is dict else "value"


def _default(place: str) -> str:
    """As it would be written; empty where the key may be left out and means nothing then."""
    value = _defaults_at(place.split("."))
    if value is None or value is PydanticUndefined or value is dataclasses.MISSING:
        return ""
    return _toml(value)


def _defaults_at(names: list[str]) -> Any:
    value: Any = Recipe()
    for name in names:
        if name.isdecimal():
            value = StageRecipe() if isinstance(value, list) else next(iter(value), None)
        else:
            value = getattr(value, name, None)
    return value


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, BaseModel) or dataclasses.is_dataclass(value):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
