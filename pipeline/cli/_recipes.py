"""A recipe on the command line: a file, or the name of one that ships with the program."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from foundation.logs import is_quiet
from foundation.words import plain
from pipeline.cli._completion import complete_recipe
from pipeline.run_folder.torchrun import leads

RecipeArgument = Annotated[
    Path,
    typer.Argument(
        help="A TOML file, or the name of a recipe that ships: compress recipes.",
        autocompletion=complete_recipe,
    ),
]


def recipe_file(word: Path) -> Path:
    """The file of a recipe; which one it is is said where the word could mean two, or is no path.

    Raises:
        UnknownNameError: when the word is neither a file nor the name of a shipped recipe.
        MissingFileError: when it is the path of no file, and a shipped recipe has its name.
    """
    from pipeline.recipe.by_name import choose_recipe  # noqa: PLC0415 - for help, too much

    choice = choose_recipe(word)
    if choice.note and leads() and not is_quiet():
        print(f"note: {plain(choice.note)}", file=sys.stderr)
    return choice.path
