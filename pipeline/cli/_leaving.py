"""How a command ends: an exit code that says what happened, and at most one line about it.

Python's own exit code for an error that nobody caught is 1, which here is a verdict: the gate
failed. So every way out leads through `run_to_the_end`, and 1 is given to no other.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import logging
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from foundation.errors import (
    CompressError,
    InternalError,
    NoSpaceError,
    UsageError,
    is_no_space,
    is_want_of_memory,
    process_output_of,
)
from foundation.logs import without_secrets
from pipeline.cli._diagnostics import begin, options, own_version, start, wants_traceback
from pipeline.cli._streams import loss_of, take_standard_streams
from pipeline.cli._user import stand_in_for_unknown_user
from pipeline.cli._versions import show_versions, version_options

logger = logging.getLogger(__name__)

INTERRUPTED = 130
_COMPLETE = "_COMPRESS_COMPLETE"
_COMPLETION_OPTIONS = {"--show-completion", "--install-completion"}
_LONGEST_REASON = 300
_OF_THE_PARSER = ("typer", "click")
_USED_UP = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN)


class Commands(TyperGroup):
    """The commands, each with the options that all have.

    None of their errors the parser takes for its own: a broken pipe in a command would end with
    exit code 1, and the end of a file as if somebody had not wanted to go on.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        common = options()
        for command in (self, *_all_of(self.commands)):
            command.params += common
            if command.callback is not None:
                command.callback = _told_of(command.callback)
        self.params += version_options()

    def make_context(self, *words: Any, **settings: Any) -> Any:
        """Read a command line, which is a new one."""
        begin()
        return super().make_context(*words, **settings)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        as_json = ctx.params["json"]
        if ctx.params["version"]:
            show_versions(as_json=as_json)
            return None
        if as_json:
            raise UsageError("--json alone says nothing; put it behind the command")
        try:
            return super().invoke(ctx)
        except (EOFError, BrokenPipeError) as error:
            raise _EscapedError from error


def _all_of(commands: Mapping[str, Any]) -> Iterator[Any]:
    """Commands and groups, and what is in the groups."""
    for command in commands.values():
        yield command
        yield from _all_of(getattr(command, "commands", {}))


def _told_of(body: Callable[..., Any]) -> Callable[..., Any]:
    """A command's body, before which logging begins: when its whole line has been read."""

    @functools.wraps(body)
    def run(*words: Any, **options: Any) -> Any:
        start()
        return body(*words, **options)

    return run


class _EscapedError(Exception):
    """Carries its cause past the parser."""


def run_to_the_end(app: typer.Typer) -> NoReturn:
    """Run the command line and leave the process."""
    take_standard_streams()
    threading.excepthook = _tell_of_thread
    # Typer makes no group of a command that is alone, as the one is that was asked for.
    is_alone = len(app.registered_commands) == 1 and not app.registered_groups
    command = typer.main.get_group(app) if is_alone else typer.main.get_command(app)
    try:
        stand_in_for_unknown_user()
        words = [_with_home(word) for word in sys.argv[1:]]
        # Not standalone: there, typer decides on exit codes of its own, and 1 is among them.
        code = command.main(words, prog_name="compress", standalone_mode=False)
    except Exception as error:
        if type(error).__module__.partition(".")[0] in _OF_THE_PARSER:
            _end_of_wrong_use(error)
        _end_of_error(error.__cause__ or error if isinstance(error, _EscapedError) else error)
    except SystemExit as error:
        # Completion leaves so; elsewhere it would be somebody's code that a verdict must not be
        # taken from.
        if _is_completing(sys.argv[1:]):
            _leave(error.code if isinstance(error.code, int) else 0, is_verdict=False)
        _end_of_error(error)
    except BaseException as error:
        _end_of_error(error)
    logger.info("done, exit code %d", code if isinstance(code, int) else 0)
    _leave(code if isinstance(code, int) else 0, is_verdict=isinstance(code, int))


def _is_completing(words: Sequence[str]) -> bool:
    """Whether a shell asks what could come next, or for the script by which it asks."""
    return _COMPLETE in os.environ or bool(set(words[:1]) & _COMPLETION_OPTIONS)


def _with_home(word: str) -> str:
    """A word of the command line with "~" spelt out where a shell leaves it: in --option=~/file."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{option}{equals}{os.path.expanduser(value)}"  # noqa: PTH111 - of an unknown user: as it is


def _end_of_wrong_use(error: Exception) -> NoReturn:
    """End as the parser of the command line would, but for its exit codes."""
    if isinstance(error, typer.Abort):  # of a question that nobody answered
        _end(None, INTERRUPTED)
    from typer import rich_utils  # noqa: PLC0415 - a quarter of a second

    rich_utils.rich_format_error(error)  # type: ignore[arg-type]
    _leave(UsageError.exit_code, is_verdict=True)


def _end_of_error(error: BaseException) -> NoReturn:
    """End with what is to be told of an error; before that, its traceback where it is wanted."""
    message, code = _told(error)
    with contextlib.suppress(Exception):
        logger.debug("exit code %d: %s", code, message, exc_info=error)
        if wants_traceback():
            text = "".join(traceback.format_exception(error))
            print(without_secrets(text), end="", file=sys.stderr)
            if output := process_output_of(error):
                print(f"what its process said:\n{without_secrets(output)}", file=sys.stderr)
    _end(message, code)


def _told(error: BaseException) -> tuple[str | None, int]:
    """The line and the exit code for what ended a command; no line where all was said."""
    if isinstance(error, CompressError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return None, INTERRUPTED
    if is_want_of_memory(error):
        return (
            f"not enough memory ({_reason(error)}); what was finished is kept: end other programs, "
            "or ask for less at once (data.batch_size, data.image_size)",
            CompressError.exit_code,
        )
    if isinstance(error, OSError):
        return _trouble_of_the_system(error)
    return _unmeant(error)


def _trouble_of_the_system(error: OSError) -> tuple[str, int]:
    if is_no_space(error):
        path = error.filename or "the disk"
        return f"{path}: no space left; free some and run again", NoSpaceError.exit_code
    if error.filename is not None:
        return f"{error.filename}: {error.strerror or error}", CompressError.exit_code
    if error.errno in _USED_UP:
        return f"this machine: {error.strerror}; end other programs", CompressError.exit_code
    return _unmeant(error)  # of which file, only the traceback can say


def _unmeant(error: BaseException) -> tuple[str, int]:
    """What to say of an error that nobody foresaw; its traceback goes into a file."""
    path = _keep(error)
    where = f"its traceback is in {path}" if path else "its traceback could be written nowhere"
    return (
        f"unexpected {type(error).__name__} ({_reason(error)}): this is a fault of the program, "
        f"not of yours, and what was finished is kept; {where}, please report it with that file",
        InternalError.exit_code,
    )


def _reason(error: BaseException) -> str:
    try:
        words = " ".join(str(error).split())
    except Exception:  # an error of somebody's code that cannot even be told
        words = ""
    if len(words) > _LONGEST_REASON:
        words = f"{words[:_LONGEST_REASON]}…"
    return words or "without a message"


def _keep(error: BaseException) -> Path | None:
    """Write the traceback where there is a place for it; never into the current folder."""
    heading = f"edge-compress {own_version()}, Python {sys.version}, {sys.platform}\n"
    command = f"command: {' '.join(word for word in sys.argv[1:2] if word.isalpha())}\n\n"
    text = heading + command + "".join(traceback.format_exception(error))
    stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-"
    for folder in _places():
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(".txt", f"crash-{stamp}", folder)
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            return Path(name)
    return None


def _places() -> Iterator[Path]:
    """Folders for tracebacks, the best first: the user's for such things (XDG), then temporary."""
    state = os.environ.get("XDG_STATE_HOME")
    if state and Path(state).is_absolute():
        yield Path(state) / "compress"
    # Of a user whom nobody knows there is no home.
    with contextlib.suppress(RuntimeError):
        yield Path.home() / ".local" / "state" / "compress"
    for name in ("TMPDIR", "TEMP"):
        if os.environ.get(name):
            yield Path(os.environ[name])
    yield from map(Path, ("/tmp", "/var/tmp", "/dev/shm"))


def _tell_of_thread(failed: threading.ExceptHookArgs) -> None:
    """Of a thread that nobody waits for, an error ends nothing; it is told in one line."""
    if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
        line, _ = _unmeant(failed.exc_value)
        print(f"note: in the background: {line}", file=sys.stderr)


def _leave(code: int, *, is_verdict: bool) -> NoReturn:
    """End after a command that came to its end.

    Whoever asked for a verdict has it in the exit code, even where its words were lost; of another
    command the words are the product.
    """
    lost = loss_of(sys.stdout)
    if lost is None:
        # What is left goes with the process: to look through it for garbage is a tenth of a gate.
        # Libraries of native code (all with numpy) take what was not looked through for leaked.
        if "numpy" not in sys.modules:
            gc.freeze()
        sys.exit(code)
    reason = f"standard output: {os.strerror(lost.errno or errno.EIO)}; what it took is not whole"
    if is_verdict:
        _end(reason, code, kind="note")
    _end(reason, NoSpaceError.exit_code if is_no_space(lost) else CompressError.exit_code)


def _end(message: str | None, code: int, kind: str = "error") -> NoReturn:
    with contextlib.suppress(Exception):
        if message:
            print(f"{kind}: {' '.join(message.split())}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
    # At once: threads of a runtime or of a display must not hold an error up.
    os._exit(code)
