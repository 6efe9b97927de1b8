"""The command line. Each command is a file: parse, call one function, show the result.

Nothing heavy is imported until a command runs, so `compress --help` answers at once.
"""

from __future__ import annotations

import importlib
from typing import NoReturn

from pipeline.cli._app import app
from pipeline.cli._leaving import run_to_the_end

__all__ = ["app", "main"]

# In the order in which help lists them: the road first.
COMMANDS = (
    "init", "run", "teach", "distill", "export", "bundle", "bench", "estimate", "report", "gate",
    "study", "search", "runs", "device", "recipes", "targets", "methods", "models", "datasets",
    "explain", "doctor",
)  # fmt: skip
for _command in COMMANDS:
    importlib.import_module(f"pipeline.cli.{_command}")


def main() -> NoReturn:
    """Run the command line; whatever goes wrong ends in one line on standard error and a code."""
    run_to_the_end(app)
