"""Reading and writing recipes, with errors that point into the file."""

from __future__ import annotations

import json
import logging
import operator
import os
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError

from foundation.documents import parse_toml
from foundation.errors import RecipeError, nearest
from foundation.files import read_toml as read_table
from foundation.words import without_password
from pipeline.recipe.teachers import spell_out_teacher

if TYPE_CHECKING:
    from pipeline.recipe.sections.recipe import Recipe

logger = logging.getLogger(__name__)

Place = tuple[str | int, ...]
_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_LONGEST_SHOWN = 100
_INDEX = re.compile(r"[0-9]{1,9}")
S = TypeVar("S")

_COMMAND_LINE = "command line"
_QUANT = "quant"
# A folded batch norm no longer evens out gradients, and a few large ones would undo the student.
_QUANT_STAGE = {
    "methods": "kd", "quantize": "int8", "epochs": 3, "lr": 0.005, "max_grad_norm": 1.0,
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Where values were written, so that a message can point there.

    Attributes:
        name: a file's path, or "command line".
        text: the file's text; empty when there is no file.
        overridden: places whose values the command line gave.
        noted: places whose values a further file gave, and that file; what a user typed was that
            file's name.
    """

    name: str = _COMMAND_LINE
    text: str = ""
    overridden: tuple[Place, ...] = ()
    noted: Mapping[Place, str] = field(default_factory=dict)

    def where(self, *place: str | int) -> str:
        """A place as a message names it: "recipes/x.toml line 12, stages[1].lr"."""
        if place in self.noted:
            return f"{self.noted[place]}, {'.'.join(map(str, place))}"
        is_overridden = any(all(map(operator.eq, place, typed)) for typed in self.overridden)
        name = _COMMAND_LINE if is_overridden and place else self.name
        line = None if is_overridden else _line_of(self.text, place)
        file_place = f"{name} line {line}" if line else name
        dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
        return f"{file_place}, {dotted.lstrip('.')}" if place else file_place

    def is_typed(self, *place: str | int) -> bool:
        """Whether the command line gave the value at a place."""
        return any(place[: len(typed_place)] == typed_place for typed_place in self.overridden)


@dataclass(frozen=True)
class RecipeFile:
    """A recipe together with where it was written.

    Attributes:
        recipe: the validated recipe, overrides included.
        source: the file, and what the command line laid over it.
    """

    recipe: Recipe
    source: Source = Source()

    def where(self, *place: str | int) -> str:
        """A place in the recipe as a message names it: "recipes/x.toml line 12, stages[1].lr"."""
        return self.source.where(*place)

    def is_typed(self, *place: str | int) -> bool:
        """Whether the command line gave the value at a place, or there is no file."""
        if place in self.source.noted:
            return False
        return not self.source.text or self.source.is_typed(*place)


def load_recipe(path: Path | None, overrides: Mapping[str, Any] | None = None) -> RecipeFile:
    """Read and validate a recipe.

    Args:
        path: a TOML file; None takes the defaults.
        overrides: values by dotted place, such as {"stages.0.epochs": 2}, laid over the file.

    Raises:
        MissingFileError: when there is no such file.
        RecipeError: when it is not TOML, or a key, type or value is wrong; with the place.
    """
    from pipeline.recipe.sections.recipe import Recipe  # noqa: PLC0415 - all sections

    content, source = ({}, Source()) if path is None else read_toml(path, "recipe")
    if path is not None:
        content.setdefault("name", path.stem)
    _spell_out_stages(content)
    for place, value in (overrides or {}).items():
        _check_text(place, value)
        _lay_over(content, place, value)
    _spell_out_stages(content)
    noted_in = spell_out_teacher(content)
    logger.debug("recipe %s, laid over it: %s", path or "of defaults", list(overrides or {}))
    source = replace(source, overridden=tuple(map(_parsed_place, overrides or {})))
    if noted_in is not None:
        source = replace(source, noted={("teacher", "model"): noted_in})
    return RecipeFile(validated(Recipe, content, source), source)


def _check_text(place: str, value: Any) -> None:
    """A name that a shell hands over may be any bytes; a recipe is UTF-8."""
    for text in value if isinstance(value, list) else [value]:
        try:
            str(text).encode()
        except UnicodeEncodeError:
            readable = os.fsencode(str(text)).decode("utf-8", "backslashreplace")
            raise RecipeError(
                f"{place}: {readable} is not UTF-8, in which a recipe is written; rename the file "
                "or folder"
            ) from None


def read_toml(path: Path, kind: str) -> tuple[dict[str, Any], Source]:
    """The content of a TOML file, and the file as a source to point into.

    Args:
        path: the file.
        kind: what it is, for messages: "recipe".

    Raises:
        MissingFileError: when there is no such file.
        RecipeError: when it is not TOML.
    """
    content, text = read_table(path, kind)
    return content, Source(str(path), text)


def validated(kind: type[S], content: Mapping[str, Any], source: Source) -> S:
    """Parsed TOML as a recipe, or as a section of one.

    Raises:
        RecipeError: when a key, type or value is wrong; with the place in the source.
    """
    try:
        # Strict from JSON: arrays become tuples, but "5" does not become 5.
        return TypeAdapter(kind).validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        raise RecipeError(_explain(error, kind, source)) from error


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as TOML, complete, with defaults spelled out but for those of `recipe_values`."""
    import tomlkit  # noqa: PLC0415 - to read one takes none

    return tomlkit.dumps(recipe_values(recipe))


def recipe_values(part: Any) -> Any:
    """A recipe, or a section of one, as plain values; keys without a value are left out, and those
    that came with a later release and have their default (`Section.LATER`)."""
    values = TypeAdapter(type(part)).dump_python(part, mode="json", exclude_none=True)
    _leave_out_silent(part, values)
    return values


def _leave_out_silent(part: Any, values: Any) -> None:
    if isinstance(part, list | tuple):
        for inner, of_it in zip(part, values, strict=True):
            _leave_out_silent(inner, of_it)
    elif isinstance(part, BaseModel) or is_dataclass(part):
        for key in getattr(part, "silent_keys", ()):
            values.pop(key, None)
        for key, value in values.items():
            _leave_out_silent(getattr(part, key), value)


def parse_override(text: str) -> tuple[str, Any]:
    """`KEY=VALUE` from the command line; the value is TOML, or else text.

    Raises:
        RecipeError: when there is no "=".
    """
    key, equals, value = text.partition("=")
    if not equals or not _KEY.fullmatch(key):
        raise RecipeError(f"--set {text[:200]}: write it as KEY=VALUE, such as stages.0.epochs=5")
    try:
        return key, parse_toml(f"value = {value}")["value"]
    except ValueError:
        return key, value


def _spell_out_stages(content: dict[str, Any]) -> None:
    """`methods = "kd"` is short for `methods = [{ name = "kd" }]`, and so inside a list; in the
    sequences of a search too.

    `methods = "quant"` is short for a last stage of kd with 8-bit numbers; such a stage goes on
    from a trained student, so its own defaults are fewer epochs and a lower rate.
    """
    search = content.get("search")
    sequences = search.get("stages") if isinstance(search, dict) else None
    rows = [content.get("stages"), *(sequences.values() if isinstance(sequences, dict) else [])]
    for stage in (stage for row in rows if isinstance(row, list) for stage in row):
        if not isinstance(stage, dict):
            continue
        if stage.get("methods") == _QUANT:
            stage["methods"] = _QUANT_STAGE["methods"]
            stage.setdefault("quantize", _QUANT_STAGE["quantize"])
        if stage.get("quantize", "none") != "none":
            stage.update(_QUANT_STAGE | stage)
        if isinstance(stage.get("methods"), str | list):
            methods = stage["methods"]
            listed = methods if isinstance(methods, list) else [methods]
            stage["methods"] = [
                {"name": method} if isinstance(method, str) else method for method in listed
            ]


def _lay_over(content: dict[str, Any], place: str, value: Any) -> None:
    *parents, last = place.split(".")
    node: Any = content
    for depth, part in enumerate(parents):
        if isinstance(node, list):
            node = node[_index(node, part, place)]
        else:
            # Stages that only the defaults hold must be written down before one can be changed;
            # what each leaves to the others follows from them afterwards.
            if part == "stages" and depth == 0 and "stages" not in node:
                node["stages"] = _usual_stages()
            node = node.setdefault(part, {})
        if not isinstance(node, dict | list):
            raise RecipeError(f"--set {place}: {part!r} is a value, not a table")
    if isinstance(node, list):
        node[_index(node, last, place)] = value
    else:
        node[last] = value


def _usual_stages() -> list[Any]:
    """Those of a recipe that names none."""
    from pipeline.recipe.sections.recipe import Recipe  # noqa: PLC0415 - all sections

    stages: list[Any] = recipe_values(Recipe.model_construct())["stages"]
    return stages


def _index(node: list[Any], part: str, place: str) -> int:
    if not _INDEX.fullmatch(part) or int(part) >= len(node):
        raise RecipeError(f"--set {place}: {part!r} is not one of 0..{len(node) - 1}")
    return int(part)


def _parsed_place(dotted: str) -> Place:
    return tuple(int(part) if _INDEX.fullmatch(part) else part for part in dotted.split("."))


def _explain(error: ValidationError, kind: type, source: Source) -> str:
    first, *others = _independent(error)
    place: Place = first["loc"]
    where = source.where(*place)
    if first["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        known = _keys_at(kind, place[:-1])
        close = nearest(str(place[-1]), known)
        hint = f"did you mean {close!r}?" if close else f"known here: {', '.join(known)}"
        message = f"{where}: unknown key {str(place[-1])!r}, {hint}"
    else:
        reason = first["msg"].removeprefix("Value error, ")
        value = first["input"]
        value = without_password(value) if isinstance(value, str) else value
        shown = "" if isinstance(value, dict | list) else f", but got {_short(value)}"
        message = f"{where}: {reason[0].lower()}{reason[1:]}{shown}"
    return f"{message} (and {len(others)} more)" if others else message


def _short(value: object) -> str:
    words = repr(value)
    return words if len(words) <= _LONGEST_SHOWN else f"{words[:_LONGEST_SHOWN]}…"


def _independent(error: ValidationError) -> list[Any]:
    """All errors but those of a table that fails only because something inside it did."""
    details = error.errors()
    return [
        detail
        for detail in details
        if not any(
            inner["loc"][: len(detail["loc"])] == detail["loc"]
            for inner in details
            if inner is not detail
        )
    ] or details


def _keys_at(kind: Any, place: Place) -> list[str]:
    """The keys that a table knows at a place within it."""
    for part in place:
        # What is no key of the table is a number or a name in a row of tables.
        kind = _table_in(hints_of(kind).get(str(part), kind))
    return list(hints_of(kind))


def hints_of(kind: Any) -> dict[str, Any]:
    """The keys of a table of the recipe and their types, in its order; empty if it is no table."""
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
            table = _table_in(inner)
            if hints_of(table):
                return table
    return annotation


def _line_of(text: str, place: Sequence[str | int]) -> int | None:
    """The line on which a place is written, or its nearest enclosing table; None if neither is."""
    lines: dict[Place, int] = {}
    table: Place = ()
    counts: dict[Place, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]", line)
        key = re.match(r"""\s*["']?([\w.-]+)["']?\s*=""", line)
        if header:
            names = [part.strip().strip("\"'") for part in header[2].split(".")]
            table = _table_opened(names, counts, is_array=header[1] == "[[")
            lines.setdefault(table, number)
        elif key:
            lines.setdefault((*table, *key[1].split(".")), number)
    for length in range(len(place), 0, -1):
        if tuple(place[:length]) in lines:
            return lines[tuple(place[:length])]
    return None


def _table_opened(names: Sequence[str], counts: dict[Place, int], *, is_array: bool) -> Place:
    """The place that a header opens; arrays of tables on the way are counted in `counts`."""
    place: Place = ()
    for depth, name in enumerate(names, start=1):
        place = (*place, name)
        if is_array and depth == len(names):
            counts[place] = counts.get(place, -1) + 1
        if place in counts:
            place = (*place, counts[place])
    return place
