"""Reading and writing recipes, with errors that point into the file."""

from __future__ import annotations

import json
import re
import tomllib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import tomlkit
from pydantic import BaseModel, TypeAdapter, ValidationError

from foundation.errors import MissingFileError, RecipeError, nearest
from pipeline.recipe import Recipe

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class RecipeFile:
    """A recipe together with the text it was read from.

    Attributes:
        recipe: the validated recipe, overrides included.
        source: what to call it in messages: its path, or "command line".
        text: the file's text; empty when there is no file.
    """

    recipe: Recipe
    source: str = "command line"
    text: str = ""

    def where(self, *place: str | int) -> str:
        """A place in the recipe as a message names it: "recipes/x.toml line 12, stages[1].lr"."""
        return _where(self.source, self.text, place)


def load_recipe(path: Path | None, overrides: Mapping[str, Any] | None = None) -> RecipeFile:
    """Read and validate a recipe.

    Args:
        path: a TOML file; None takes the defaults.
        overrides: values by dotted place, such as {"stages.0.epochs": 2}, laid over the file.

    Raises:
        MissingFileError: when there is no such file.
        RecipeError: when it is not TOML, or a key, type or value is wrong; with the place.
    """
    text, source = "", "command line"
    if path is not None:
        if not path.is_file():
            raise MissingFileError(f"{path}: no such recipe; see recipes/ for examples")
        text, source = path.read_text(encoding="utf-8"), str(path)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{source}: not valid TOML: {error}") from error
    for place, value in (overrides or {}).items():
        _lay_over(content, place, value)
    if path is not None:
        content.setdefault("name", path.stem)
    _spell_out_methods(content)
    try:
        # Strict from JSON: arrays become tuples, but "5" does not become 5.
        recipe = Recipe.model_validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        raise RecipeError(_explain(error, source, text)) from error
    return RecipeFile(recipe, source, text)


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as TOML, complete, with defaults spelled out."""
    return tomlkit.dumps(recipe_values(recipe))


def recipe_values(part: Any) -> Any:
    """A recipe, or a section of one, as plain values; keys without a value are left out."""
    return TypeAdapter(type(part)).dump_python(part, mode="json", exclude_none=True)


def parse_override(text: str) -> tuple[str, Any]:
    """`KEY=VALUE` from the command line; the value is TOML, or else text.

    Raises:
        RecipeError: when there is no "=".
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {text}: write it as KEY=VALUE, such as stages.0.epochs=5")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def _spell_out_methods(content: dict[str, Any]) -> None:
    """`methods = "kd"` is short for `methods = [{ name = "kd" }]`, and so inside a list."""
    stages = content.get("stages")
    for stage in stages if isinstance(stages, list) else []:
        if isinstance(stage, dict) and isinstance(stage.get("methods"), str | list):
            methods = stage["methods"]
            listed = methods if isinstance(methods, list) else [methods]
            stage["methods"] = [{"name": m} if isinstance(m, str) else m for m in listed]


def _lay_over(content: dict[str, Any], place: str, value: Any) -> None:
    *parents, last = place.split(".")
    node: Any = content
    for depth, part in enumerate(parents):
        if isinstance(node, list):
            node = node[_index(node, part, place)]
        else:
            # Stages that only the defaults hold must be written down before one can be changed.
            if part == "stages" and depth == 0 and "stages" not in node:
                node["stages"] = recipe_values(Recipe())["stages"]
            node = node.setdefault(part, {})
        if not isinstance(node, dict | list):
            raise RecipeError(f"--set {place}: {part!r} is a value, not a table")
    if isinstance(node, list):
        node[_index(node, last, place)] = value
    else:
        node[last] = value


def _index(node: list[Any], part: str, place: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise RecipeError(f"--set {place}: {part!r} is not one of 0..{len(node) - 1}")
    return int(part)


def _explain(error: ValidationError, source: str, text: str) -> str:
    first, *others = _independent(error)
    place: Place = first["loc"]
    where = _where(source, text, place)
    if first["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        known = _keys_at(place[:-1])
        close = nearest(str(place[-1]), known)
        hint = f"did you mean {close!r}?" if close else f"known here: {', '.join(known)}"
        message = f"{where}: unknown key {str(place[-1])!r}, {hint}"
    else:
        reason = first["msg"].removeprefix("Value error, ")
        given = first["input"]
        shown = "" if isinstance(given, dict | list) else f", but got {given!r}"
        message = f"{where}: {reason[0].lower()}{reason[1:]}{shown}"
    return f"{message} (and {len(others)} more)" if others else message


def _independent(error: ValidationError) -> list[Any]:
    """All errors but those of a table that fails only because something inside it did."""
    errors = error.errors()
    return [
        one
        for one in errors
        if not any(o["loc"][: len(one["loc"])] == one["loc"] for o in errors if o is not one)
    ] or errors


def _keys_at(place: Place) -> list[str]:
    """The keys that a recipe knows at a place."""
    kind: Any = Recipe
    for part in place:
        kind = _table_in(kind if isinstance(part, int) else _hints(kind).get(part))
    return list(_hints(kind))


def _hints(kind: Any) -> dict[str, Any]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return {field.name: hints[field.name] for field in fields(kind)}
    return {}


def _table_in(annotation: Any) -> Any:
    """The table type inside list[Table], Table | None, tuple[Table, ...] and the like."""
    if get_origin(annotation) in {list, tuple, dict, Union, types.UnionType}:
        for inner in reversed(get_args(annotation)):
            found = _table_in(inner)
            if _hints(found):
                return found
    return annotation


def _where(source: str, text: str, place: Sequence[str | int]) -> str:
    line = _line_of(text, place)
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    at = f" line {line}" if line else ""
    return f"{source}{at}, {dotted.lstrip('.')}" if place else f"{source}{at}"


def _line_of(text: str, place: Sequence[str | int]) -> int | None:
    """The line on which a place is written, or its nearest enclosing table; None if neither is."""
    lines: dict[Place, int] = {}
    table: Place = ()
    counts: dict[Place, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]", line)
        key = re.match(r"""\s*["']?([\w.-]+)["']?\s*=""", line)
        if header:
            table = tuple(part.strip().strip("\"'") for part in header[2].split("."))
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            elif table[:1] in counts:
                table = (table[0], counts[table[:1]], *table[1:])
            lines.setdefault(table, number)
        elif key:
            lines.setdefault((*table, *key[1].split(".")), number)
    for length in range(len(place), 0, -1):
        if tuple(place[:length]) in lines:
            return lines[tuple(place[:length])]
    return None
