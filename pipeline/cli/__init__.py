"""The command line. Each command is a file: parse, call one function, show the result.

Nothing heavy is imported until a command runs, so `compress --help` answers at once; and of a
command that is named first, no other's options are made.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from pipeline.cli import _app
from pipeline.cli._leaving import run_to_the_end

if TYPE_CHECKING:
    from pipeline.cli._app import app

__all__ = ["app", "load", "main"]

# In the order in which help lists them: the road first.
COMMANDS = (
    "init", "run", "teach", "distill", "export", "bundle", "bench", "estimate", "report", "gate",
    "study", "search", "runs", "device", "recipes", "targets", "methods", "models", "datasets",
    "explain", "doctor",
)  # fmt: skip


def main() -> NoReturn:
    """Run the command line; whatever goes wrong ends in one line on standard error and a code."""
    # Importing makes many objects and no garbage: looked through at Python's own 700, it takes a
    # twentieth longer.
    gc.set_threshold(50_000)
    # pydantic would look through every installed package for plugins, to change what is read here.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    first = sys.argv[1:2]
    load(first if first and first[0] in COMMANDS else COMMANDS)
    run_to_the_end(_app.app)


def load(commands: Sequence[str] = COMMANDS) -> None:
    """Register commands."""
    for command in commands:
        importlib.import_module(f"pipeline.cli.{command}")


def __getattr__(name: str) -> Any:
    """`app`, with all commands."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    load()
    return _app.app
