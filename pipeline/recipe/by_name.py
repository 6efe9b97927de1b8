"""Recipes that ship with the program, by name.

One TOML file each in `shipped/`. Its first line is a comment that says what the recipe is for; the
commands to begin with are comments too, indented. A new recipe is a new file there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from foundation.errors import MissingFileError, UnknownNameError, unknown_name

_SHIPPED = Path(__file__).with_name("shipped")
_COMMAND = "#   compress "


@dataclass(frozen=True)
class ShippedRecipe:
    """A recipe that comes with the program.

    Attributes:
        name: by which a command takes it.
        summary: what it is for, in a line.
        commands: to begin with.
        path: of its file.
    """

    name: str
    summary: str
    commands: list[str]
    path: str


@dataclass(frozen=True)
class RecipeChoice:
    """The file that a command reads its recipe from.

    Attributes:
        path: of the file.
        note: which one it is, where a name could mean two or is no path; else None.
    """

    path: Path
    note: str | None = None


def shipped_names() -> list[str]:
    """Names of the recipes that come with the program, sorted."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def shipped_recipe(name: str) -> ShippedRecipe:
    """What a shipped recipe says of itself.

    Raises:
        UnknownNameError: when there is none of that name.
    """
    if name not in shipped_names():
        raise unknown_name("recipe", name, shipped_names())
    path = _path(name)
    lines = path.read_text(encoding="utf-8").splitlines()
    commands = [line.removeprefix("#").strip() for line in lines if line.startswith(_COMMAND)]
    return ShippedRecipe(name, lines[0].removeprefix("#").strip(), commands, str(path))


def choose_recipe(word: Path) -> RecipeChoice:
    """The recipe that a word of the command line stands for: a file, or a shipped one's name.

    A file that is there comes before a shipped recipe of the same name. A folder is no recipe, so
    that `digits` stands for the shipped one beside a dataset of that name.

    Raises:
        UnknownNameError: when the word is neither a file nor a name, and looks like a name.
        MissingFileError: when a file is asked for that ships under its name alone.
    """
    name, shipped = str(word), shipped_names()
    if os.path.exists(word) and not os.path.isdir(word):  # noqa: PTH110, PTH112 - these raise nothing
        shadowed = (
            f"{word}: the file here, not the recipe of that name that ships with edge-compress"
        )
        return RecipeChoice(word, shadowed if name in shipped else None)
    if name in shipped:
        path = _path(name)
        return RecipeChoice(path, f"recipe {name} is the one that ships with edge-compress: {path}")
    if os.path.exists(word):  # noqa: PTH110
        return RecipeChoice(word)  # whose reader says why not
    if len(word.parts) == 1 and not word.suffix:
        unknown = unknown_name("recipe", name, shipped)
        raise UnknownNameError(f"{unknown}; nor is there a file of that name here")
    if word.suffix == ".toml" and word.stem in shipped:
        raise MissingFileError(
            f"{word}: no such recipe; one of that name ships with edge-compress, and goes by its "
            f"name alone: {word.stem}"
        )
    return RecipeChoice(word)


def _path(name: str) -> Path:
    return _SHIPPED / f"{name}.toml"
