"""A recipe that names `module:function` is code: it is said what is imported, and asked for once.

What a user types is the user's own word. What stands in a file may be another's: it needs a yes,
which is remembered for that run folder and for those very bytes of the module's file.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from foundation.errors import CompressError, UntrustedCodeError
from foundation.files import read_json, sha256_of, write_json
from foundation.records import RecordError, as_dict, build
from foundation.sense import sha256
from pipeline.models.teachers import asked_teacher
from pipeline.recipe.code import module_in, source_file
from pipeline.recipe.file import Place, RecipeFile
from pipeline.run_folder.folder import Say
from pipeline.run_folder.torchrun import leads

VARIABLE = "COMPRESS_TRUST_CODE"
STATE = "COMPRESS_TRUSTED"

_YES = {"1", "true", "yes", "on"}


@dataclass(frozen=True)
class TrustedCode:
    """What a yes was given to: the function, the file and its content."""

    name: str
    file: str
    sha256: str | None

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from sha256(sha256=self.sha256)


@dataclass(frozen=True)
class Code:
    """A function of a module that a recipe names, or a command.

    Attributes:
        name: "package.module:function", or the command.
        where: its place in the recipe, for messages.
        typed: whether the user typed it on the command line.
        file: the module's file; None where it is built into Python, or not there.
    """

    name: str
    where: str
    typed: bool
    file: Path | None

    @property
    def verb(self) -> str:
        """What is done with it."""
        return "imports" if module_in(self.name) else "runs"

    @property
    def origin(self) -> str:
        """From which file it is run."""
        return str(self.file) if self.file else "Python itself, or nowhere"

    def identity(self) -> TrustedCode:
        """What a yes is given to."""
        content = sha256_of(self.file) if self.file else None
        return TrustedCode(self.name, str(self.file or ""), content)


def check_code(file: RecipeFile, run: Path, say: Say) -> None:
    """Say which code a recipe runs, and see that somebody said yes to that which a file names.

    Args:
        file: the recipe.
        run: the run folder that it is for, which the answer is remembered for.
        say: told what is imported.

    Raises:
        UntrustedCodeError: when nobody said yes.
    """
    codes, memory = list(_code_in(file)), _Memory(run)
    untrusted = [code for code in codes if not (code.typed or memory.holds(code))]
    if untrusted and not _is_yes():
        _ask(untrusted)
    for code in codes:
        say(f"{code.where}: {code.verb} {code.name} from {code.origin}")
        memory.keep(code)


def check_scheduler(file: RecipeFile) -> None:
    """See that a scheduler is the user's own word: what it sends is unpickled, which runs it.

    Raises:
        UntrustedCodeError: when a recipe from a file names one, and nobody said yes.
    """
    scheduler, place = file.recipe.study.scheduler, ("study", "scheduler")
    if scheduler is None or file.is_typed(*place) or _is_yes():
        return
    raise UntrustedCodeError(
        f"{file.where(*place)}: whoever has the scheduler {scheduler} can run code here; name it "
        f"on the command line yourself (--scheduler), or say --trust-code (or {VARIABLE}=1)"
    )


def _is_yes() -> bool:
    return os.environ.get(VARIABLE, "").lower() in _YES


def _code_in(file: RecipeFile) -> Iterator[Code]:
    recipe = file.recipe
    kind, _, function = recipe.data.name.partition(":")
    named: list[tuple[Place, str | None]] = [
        (("teacher", "model"), _code_of_teacher(recipe.teacher.model)),
        *(
            (("teachers", number, "model"), _code_of_teacher(member.model))
            for number, member in enumerate(recipe.teachers)
        ),
        (("student", "model"), recipe.student.model if ":" in recipe.student.model else None),
        (("metric",), recipe.metric if recipe.metric and ":" in recipe.metric else None),
        (("export", "scorer"), recipe.export.scorer),
        (("data", "name"), function if kind == "loader" else None),
    ]
    for place, name in named:
        if name is not None:
            yield Code(name, file.where(*place), file.is_typed(*place), _file_of(name))


def _code_of_teacher(model: str) -> str | None:
    """The code that a teacher is, in words; None where it is none."""
    asked = asked_teacher(model)
    if asked is not None:
        return asked.kind.code(asked.argument)
    return model if ":" in model else None


def _file_of(name: str) -> Path | None:
    """Where the code of a function lies, or of a command: the script that it runs, or else the
    program."""
    module = module_in(name)
    file = source_file(module) if module else None
    if file is not None:
        return file
    with suppress(ValueError, OSError):
        words = shlex.split(name)
        scripts = [Path(word) for word in words[1:] if Path(word).is_file()]
        program = shutil.which(words[0]) if words else None
        return (scripts[0] if scripts else Path(program)).resolve() if program else None
    return None


def _ask(codes: list[Code]) -> None:
    """Ask a person on a terminal once for all; refuse where there is none, or the answer is no."""
    listed = "; ".join(dict.fromkeys(f"{code.name} ({code.origin})" for code in codes))
    where = codes[0].where
    if leads() and sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty():
        print(
            f"{where}: this recipe runs code of {listed}. It can do all that you can. "
            "Run it? [y/N] ",
            end="", file=sys.stderr, flush=True,
        )  # fmt: skip
        if sys.stdin.readline().strip().lower() in {"y", "yes"}:
            return
        raise UntrustedCodeError(f"{where}: not run, as you said: {listed}")
    raise UntrustedCodeError(
        f"{where}: this recipe runs code of {listed}, which can do all that you can; read it, then "
        f"say --trust-code (or {VARIABLE}=1), or name it on the command line yourself"
    )


class _Memory:
    """To what code of a run folder a user said yes; it lies with the user, not in the folder,
    which may have come from somebody else."""

    def __init__(self, run: Path) -> None:
        key = hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:32]
        folder = _state_folder()
        self.path = folder / f"{key}.json" if folder else None

    def holds(self, code: Code) -> bool:
        return code.identity() in self._entries()

    def keep(self, code: Code) -> None:
        identity, remembered = code.identity(), self._entries()
        if self.path is None or identity in remembered or not leads():
            return
        entries_of_others = [entry for entry in remembered if entry.name != code.name]
        with suppress(CompressError, OSError):  # else it is asked again
            self.path.parent.mkdir(parents=True, exist_ok=True)
            entries = [*entries_of_others, identity]
            write_json(self.path, [as_dict(entry) for entry in entries])

    def _entries(self) -> list[TrustedCode]:
        """What was said yes to; what cannot be understood is asked again."""
        entries: list[TrustedCode] = []
        if self.path is None:
            return entries
        with suppress(CompressError, OSError):
            content = read_json(self.path)
            for raw in content if isinstance(content, list) else []:
                with suppress(RecordError):
                    entries.append(build(TrustedCode, raw))
        return entries


def _state_folder() -> Path | None:
    """Where answers lie: COMPRESS_TRUSTED, or the user's state folder; None where there is none."""
    override, home = os.environ.get(STATE), os.environ.get("XDG_STATE_HOME")
    if override:
        return Path(override)
    try:
        return (Path(home) if home else Path.home() / ".local/state") / "compress" / "trusted"
    except RuntimeError:  # an unknown user without HOME
        return None
