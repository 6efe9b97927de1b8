"""The code that a recipe names, "package.module:function": where it lies, what it is known by."""

from __future__ import annotations

import ast
import hashlib
import importlib
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from foundation.errors import ModelMismatchError

if TYPE_CHECKING:
    from pipeline.recipe.sections.recipe import Recipe

_FUNCTION = re.compile(r"(?:[\w-]+:)?(?P<module>\w[\w.]*):\w+")


def source_file(module: str) -> Path | None:
    """A module's file, found without importing it or the packages that it lies in."""
    first, *others = module.split(".")
    with suppress(Exception):  # names that can be none, folders that cannot be read
        spec = find_spec(first) or PathFinder.find_spec(first, [str(Path.cwd())])
        for part in others:
            inside = list(spec.submodule_search_locations or []) if spec else []
            spec = PathFinder.find_spec(part, inside)
        if spec and spec.origin and Path(spec.origin).is_file():
            return Path(spec.origin).resolve()
    return None


def import_own(module: str) -> ModuleType:
    """Import a module, from the current folder too, where a console script would not look."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(module)


def function_named(name: str, what: str = "model", where: str = "") -> Callable[..., Any]:
    """The function that "package.module:function" stands for, imported from the current folder or
    the environment.

    Args:
        name: the function.
        what: what it is to the recipe, for messages.
        where: its place there, for messages.

    Raises:
        ModelMismatchError: when there is none.
    """
    module, _, attribute = name.partition(":")
    at = f"{where}: " if where else ""
    try:
        function = getattr(import_own(module), attribute)
    except (Exception, SystemExit) as error:  # a user's module may fail in any way
        raise ModelMismatchError(
            f"{at}{what} {name!r}: {failure_in(error)}; write it as package.module:"
            f"{'factory' if what == 'model' else 'function'}, importable from the current folder "
            "or the environment"
        ) from error
    if not callable(function):
        raise ModelMismatchError(f"{at}{what} {name!r}: {attribute} cannot be called")
    return function  # type: ignore[no-any-return]


def failure_in(error: BaseException) -> str:
    """How a user's code failed, in a line."""
    if isinstance(error, SystemExit):
        return f"it ends the program (exit code {error.code or 0})"
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def module_in(model: str) -> str | None:
    """The module of a factory, "package.module:factory", or of a function that teaches,
    "function:package.module:name"; None where a model's name has none."""
    found = _FUNCTION.fullmatch(model)
    return found["module"] if found else None


def code_of(recipe: Recipe) -> dict[str, str]:
    """What the code of teacher and student is known by, where the recipe names any."""
    roles = {"teacher": recipe.teacher.model, "student": recipe.student.model}
    known = {role: code_identity(model) for role, model in roles.items()}
    own = [(member.name, code_identity(member.model)) for member in recipe.teachers]
    if any(identity for _, identity in own):
        known["teacher"] = hashlib.sha256(repr(own).encode()).hexdigest()
    return {role: identity for role, identity in known.items() if identity is not None}


def code_identity(model: str) -> str | None:
    """SHA-256 of what a factory's module says, blanks and comments aside; None without one.

    What that module imports is not looked at.
    """
    module = module_in(model)
    file = source_file(module) if module else None
    if file is None:
        return None
    content = file.read_bytes()
    with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
        content = ast.dump(ast.parse(content)).encode()
    return hashlib.sha256(content).hexdigest()
