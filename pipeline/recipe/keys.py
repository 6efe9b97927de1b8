"""The recipe's keys, one by one: of which type each is, and what its section says of it."""

from __future__ import annotations

import importlib
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from typing import Any

from foundation.explanations import explanations
from pipeline.recipe.file import hints_of
from pipeline.recipe.sections.values import Section

OF_ONE_FILE = {
    name: f"{name.capitalize()}Recipe"
    for name in ("data", "export", "bench", "gate", "study", "search")
}
"""The classes of sections that lie in a file of their name: who asks for the keys of one does not
wait for all the others."""


@dataclass(frozen=True)
class RecipeKey:
    """A key of the recipe.

    Attributes:
        place: its dotted place: "bench.threads".
        type: of its value, or of an item where it is a list; text where it is a choice of words.
        is_list: whether it takes several.
        words: what its section says of it, a line; empty where it says nothing.
        choices: the words that it may be, where it is a choice of words.
    """

    place: str
    type: type
    is_list: bool
    words: str
    choices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Within its table."""
        return self.place.rpartition(".")[2]


def keys_of(section: str) -> list[RecipeKey]:
    """All keys of a section, in its order."""
    return [key_at(f"{section}.{name}") for name in hints_of(_table_at([section]))]


def places() -> list[str]:
    """The dotted places of all keys, those of a stage with the first one's number."""
    return list(_places_in(_whole(), ""))


def _places_in(table: type, before: str) -> Iterator[str]:
    for name, hint in hints_of(table).items():
        bare, place = _bare(hint), f"{before}{name}"
        item = _bare(typing.get_args(bare)[0]) if typing.get_origin(bare) is list else bare
        if not _is_table(item):
            yield place
        else:
            yield from _places_in(item, f"{place}.0." if item is not bare else f"{place}.")


def _is_table(hint: Any) -> bool:
    return isinstance(hint, type) and (issubclass(hint, Section) or is_dataclass(hint))


def key_at(place: str) -> RecipeKey:
    """The key at a dotted place.

    Raises:
        KeyError: when there is none.
    """
    *tables, name = place.split(".")
    table = _table_at(tables)
    hint = _bare(hints_of(table)[name])
    is_list = typing.get_origin(hint) is list
    item = _bare(typing.get_args(hint)[0]) if is_list else hint
    choices: tuple[str, ...] = ()
    if typing.get_origin(item) is typing.Literal:
        choices = tuple(map(str, typing.get_args(item)))
        item = type(typing.get_args(item)[0])
    return RecipeKey(place, item, is_list, _words(table, name), choices)


def _table_at(place: list[str]) -> type:
    first = place[0] if place else ""
    if first in OF_ONE_FILE:
        module = importlib.import_module(f"pipeline.recipe.sections.{first}")
        table, place = getattr(module, OF_ONE_FILE[first]), place[1:]
    else:
        table = _whole()
    for name in place:
        # A number is that of an item, all of which have the same keys.
        table = _bare(typing.get_args(table)[0] if name.isdecimal() else hints_of(table)[name])
    return typing.cast(type, table)


def _whole() -> Any:
    from pipeline.recipe.sections.recipe import Recipe  # noqa: PLC0415 - all sections

    return Recipe


def _bare(hint: Any) -> Any:
    """A type without its limits, and without None."""
    if typing.get_origin(hint) is typing.Annotated:
        return _bare(typing.get_args(hint)[0])
    if typing.get_origin(hint) in {types.UnionType, typing.Union}:
        parts = [part for part in typing.get_args(hint) if part is not types.NoneType]
        return _bare(parts[0]) if len(parts) == 1 else hint
    return hint


def _words(table: type, name: str) -> str:
    """From the class that declares the key, or one above it that explains it."""
    every = (explanations(kind).get(name) for kind in table.__mro__)
    return next((words for words in every if words), "")
