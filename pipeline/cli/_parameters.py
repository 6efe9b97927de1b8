"""Parameters for commands that do not declare them themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer


def parameters_of(function: Callable[..., None]) -> list[Any]:
    """The parameters that a function declares, as the parser has them; --help is not among them."""
    maker = typer.Typer(add_completion=False, rich_markup_mode="rich")
    maker.command()(function)
    parameters = typer.main.get_command(maker).params
    return [parameter for parameter in parameters if parameter.name != "help"]
