"""A recipe as a file that a person reads: what was given, what was guessed, what may be added."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from foundation.words import one_line

_WIDTH = 98


@dataclass(frozen=True)
class Key:
    """A line of the recipe.

    Attributes:
        name: the key; within its table.
        value: as TOML has it.
        guessed: why it is what it is, where nobody gave it.
        off: whether it is only a comment: what may be switched on.
    """

    name: str
    value: Any
    guessed: str | None = None
    off: bool = False


@dataclass(frozen=True)
class CommentedTable:
    """A table of the recipe.

    Attributes:
        head: as TOML has it: "[data]", "[[stages]]"; empty for what stands before all tables.
        keys: its lines.
        words: what it is, in a line or more.
        off: whether all of it is a comment.
    """

    head: str
    keys: Sequence[Key]
    words: str = ""
    off: bool = False


def recipe_text(opening: Iterable[str], tables: Sequence[CommentedTable]) -> str:
    """The file.

    Args:
        opening: what it says of itself, a paragraph each.
        tables: in order.
    """
    parts = ["\n".join(line for words in opening for line in _comment(words))]
    parts += ["\n".join(_lines(table)) for table in tables]
    return "\n\n".join(parts) + "\n"


def _lines(table: CommentedTable) -> Iterator[str]:
    if table.words:
        yield from _comment(table.words)
    if table.head:
        yield f"# {table.head}" if table.off else table.head
    for key in table.keys:
        if key.guessed is not None:
            yield from _comment(f"guess: {key.guessed}")
        line = f"{key.name} = {_value(key.value)}"
        yield f"# {line}" if key.off or table.off else line


def _comment(words: str) -> list[str]:
    if words.startswith("  "):  # a command stays in its line
        return [f"# {words}"]
    # What a file names something need not be fit for a line of text.
    return [f"# {line}" for line in textwrap.wrap(one_line(words), _WIDTH)]


def _value(value: Any) -> str:
    import tomlkit  # noqa: PLC0415

    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items())
        return f"{{ {inside} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return str(tomlkit.item(value).as_string())
