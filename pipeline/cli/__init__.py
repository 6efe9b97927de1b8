"""The command line. Each command is a file: parse, call one function, show the result.

Nothing heavy is imported until a command runs, so `compress --help` answers at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import NoReturn

from foundation.errors import CompressError, NoSpaceError, is_no_space
from pipeline.cli._app import app

__all__ = ["app", "main"]

# In the order in which help lists them: the road first.
COMMANDS = (
    "run", "distill", "export", "bundle", "bench", "estimate", "report", "gate", "study",
    "device", "targets", "methods", "models", "datasets", "doctor",
)  # fmt: skip
for _command in COMMANDS:
    importlib.import_module(f"pipeline.cli.{_command}")


def main() -> None:
    """Run the command line; a user's mistake ends in one line on standard error and a code."""
    try:
        app()
    except CompressError as error:
        _end(str(error), error.exit_code)
    except OSError as error:
        path = error.filename or "the disk"
        if is_no_space(error):
            _end(f"{path}: no space left; free some and run again", NoSpaceError.exit_code)
        _end(f"{path}: {error.strerror or error}", CompressError.exit_code)


def _end(message: str, code: int) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    # At once: threads of a runtime or of a display must not hold an error up.
    os._exit(code)
