"""Whatever ends a command, its exit code says so, and 1 is a failed gate and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from foundation.errors import CompressError, InternalError, UsageError
from pipeline.cli import COMMANDS, app

# Every command of the real program, with another body of the same options: one that fails.
PROGRAM = """
import errno, functools, importlib, json, os, sys
import typer
from pipeline.cli import app, main

class Mute(Exception):
    def __str__(self):
        raise RuntimeError("not even this")

def recurse():
    recurse()

def fail(kind):
    if kind == "RecursionError":
        recurse()
    if kind == "thread":
        import threading
        def late():
            raise RuntimeError("late")
        thread = threading.Thread(target=late)
        thread.start()
        thread.join()
        raise typer.Exit(0)
    if kind == "atexit":
        import atexit
        atexit.register(lambda: 1 / 0)
        raise typer.Exit(0)
    raise {
        "RuntimeError": RuntimeError("nobody meant\\n  this"),
        "SystemExit 0": SystemExit(0),
        "SystemExit 1": SystemExit(1),
        "SystemExit words": SystemExit("bye"),
        "KeyboardInterrupt": KeyboardInterrupt(),
        "Abort": typer.Abort(),
        "MemoryError": MemoryError(),
        "BrokenPipeError": BrokenPipeError(errno.EPIPE, "Broken pipe"),
        "EOFError": EOFError("no more"),
        "UnicodeEncodeError": UnicodeEncodeError("ascii", "\\u03c4", 0, 1, "ordinal not in range"),
        "OSError without a file": OSError(errno.EINVAL, "Invalid argument"),
        "OSError of a file": PermissionError(errno.EACCES, "Permission denied", "some/file"),
        "OSError of words": OSError("cannot identify"),
        "too many files": OSError(errno.EMFILE, "Too many open files"),
        "AssertionError": AssertionError(),
        "StopIteration": StopIteration(),
        "Mute": Mute(),
        "GeneratorExit": GeneratorExit(),
        "ExceptionGroup": ExceptionGroup("several", [ValueError("a"), OSError("b")]),
        "Exit 1": typer.Exit(1),
    }[kind]

def replace(info, kind):
    real = info.callback
    info.callback = functools.wraps(real)(lambda *args, **kwargs: fail(kind))

for line in sys.stdin:
    order = json.loads(line)
    if (child := os.fork()) == 0:
        for number, end in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{order['stem']}.{end}", os.O_WRONLY | os.O_CREAT, 0o600), number)
        typers = [app, *(group.typer_instance for group in app.registered_groups)]
        for info in (one for each in typers for one in each.registered_commands):
            replace(info, order["kind"])
        sys.argv = ["compress", *order["arguments"]]
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tracebacks go."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def fails(state: Path, tmp_path_factory: pytest.TempPathFactory):
    """Runs a command whose body fails: `fails("gate", kind="RuntimeError")`."""
    folder = tmp_path_factory.mktemp("said")
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "XDG_STATE_HOME": str(state), "TERM": "dumb"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder,
    ) as program:  # fmt: skip

        def call(*arguments: str, kind: str = "RuntimeError") -> Ended:
            stem = folder / str(len(list(folder.iterdir())))
            order = {"arguments": arguments, "kind": kind, "stem": str(stem)}
            program.stdin.write(json.dumps(order) + "\n")
            program.stdin.flush()
            code = int(program.stdout.readline())
            return Ended(code, *(stem.with_suffix(end).read_text() for end in (".out", ".err")))

        yield call
        program.stdin.close()


def every_command() -> list[tuple[str, ...]]:
    """All commands, those of groups with the group's name."""
    alone = [(info.callback.__name__,) for info in app.registered_commands]
    groups = [group.typer_instance for group in app.registered_groups]
    return alone + [
        (group.info.name, info.name or info.callback.__name__)
        for group in groups
        for info in group.registered_commands
    ]


# What those need that do not go by themselves.
WORDS = {
    "run": ["x"], "study": ["x"], "estimate": ["--target", "x"], "setup": ["--host", "x"],
    "check": ["--host", "x"], "clean": ["--host", "x"], "pack": ["x"], "unpack": ["x"],
    "verify": ["x"], "compare": ["x"], "tag": ["x", "y"], "remove": ["x"],
}  # fmt: skip


@pytest.mark.parametrize("command", every_command(), ids=" ".join)
def test_an_error_that_nobody_meant_is_70_and_one_line_in_every_command(
    fails, command: tuple[str, ...], state: Path
) -> None:
    ended = fails(*command, *WORDS.get(command[-1], []))
    assert ended.code == InternalError.exit_code == 70, ended.err
    (line,) = ended.err.splitlines()
    assert line.startswith("error: unexpected RuntimeError (nobody meant this): ")
    assert "fault of the program" in line and "report it" in line
    path = Path(re.search(r"its traceback is in (\S+), ", line)[1])
    assert path.is_relative_to(state)
    written = path.read_text()
    assert "Traceback (most recent call last)" in written and "nobody meant" in written
    assert ended.out == ""


@pytest.mark.parametrize("command", every_command(), ids=" ".join)
def test_a_traceback_that_was_asked_for_comes_before_the_line_and_changes_no_code(
    fails, command: tuple[str, ...], tmp_path: Path
) -> None:
    log = tmp_path / "a.log"
    options = ["--traceback", "-vv", "--log-file", str(log)]
    for words in ([*options, *command], [*command, *options]):
        ended = fails(*words, *WORDS.get(command[-1], []))
        *above, line = ended.err.splitlines()
        assert (ended.code, ended.out) == (70, "") and line.startswith("error: unexpected Runtime")
        assert "Traceback (most recent call last):" in above
        assert (
            "RuntimeError: nobody meant" in above
            and "RuntimeError: nobody meant" in log.read_text()
        )
        log.unlink()


def test_every_command_is_among_those_tried() -> None:
    assert {command[0] for command in every_command()} == set(COMMANDS)


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("SystemExit 0", 70, "unexpected SystemExit (0)"),
        ("SystemExit 1", 70, "unexpected SystemExit (1)"),
        ("SystemExit words", 70, "unexpected SystemExit (bye)"),
        ("KeyboardInterrupt", 130, ""),
        ("Abort", 130, ""),
        ("MemoryError", CompressError.exit_code, "not enough memory"),
        ("RecursionError", 70, "unexpected RecursionError (maximum recursion depth"),
        ("BrokenPipeError", 70, "unexpected BrokenPipeError"),
        ("EOFError", 70, "unexpected EOFError (no more)"),
        ("UnicodeEncodeError", 70, "unexpected UnicodeEncodeError"),
        ("OSError without a file", 70, "unexpected OSError ([Errno 22] Invalid argument)"),
        ("OSError of a file", CompressError.exit_code, "error: some/file: Permission denied"),
        ("OSError of words", 70, "unexpected OSError (cannot identify)"),
        ("too many files", CompressError.exit_code, "this machine: Too many open files"),
        ("AssertionError", 70, "unexpected AssertionError (without a message)"),
        ("StopIteration", 70, "unexpected StopIteration"),
        ("Mute", 70, "unexpected Mute (without a message)"),
        ("GeneratorExit", 70, "unexpected GeneratorExit"),
        ("ExceptionGroup", 70, "unexpected ExceptionGroup (several (2 sub-exceptions))"),
        ("thread", 0, "note: in the background: unexpected RuntimeError (late)"),
        ("Exit 1", 1, ""),
    ],
)
def test_every_way_out_has_its_exit_code_and_1_is_a_verdict_alone(
    fails, kind: str, code: int, words: str
) -> None:
    ended = fails("gate", kind=kind)
    assert (ended.code, ended.out) == (code, ""), ended.err
    assert words in ended.err
    assert len(ended.err.splitlines()) == bool(words)


@pytest.mark.parametrize("kind", ["Exit 1", "KeyboardInterrupt", "SystemExit 0", "Abort", "Mute"])
def test_diagnostics_change_no_exit_code(fails, kind: str) -> None:
    told = fails("gate", "-vvv", "--traceback", "--log-file", "/dev/null", kind=kind)
    assert told.code == fails("gate", kind=kind).code


def test_an_error_at_the_very_end_leaves_the_exit_code(fails) -> None:
    assert fails("gate", kind="atexit").code == 0


@pytest.mark.parametrize("arguments", [("gate", "--bogus"), ("bogus",), (), ("run",)])
def test_wrong_use_is_2(fails, arguments: tuple[str, ...]) -> None:
    assert fails(*arguments).code == UsageError.exit_code


def test_a_traceback_has_a_place_without_a_home_or_a_writable_folder(tmp_path: Path) -> None:
    """Of an unknown user, in a folder that cannot be written."""
    code = (
        "from pathlib import Path; from pipeline.cli._leaving import _keep\n"
        "Path.home = lambda: (_ for _ in ()).throw(RuntimeError('no home'))\n"
        "print(_keep(ValueError('x')))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "HOME"}
    environment |= {"XDG_STATE_HOME": "/proc/nowhere", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True,
        cwd="/",
    )  # fmt: skip
    assert Path(done.stdout.strip()).parent == tmp_path


def test_libraries_of_native_code_are_let_go_of_at_the_end() -> None:
    code = """
import os, sys, numpy
class Held:
    def __del__(self, write=os.write):
        write(2, b"let go")
held = Held()
held.itself = held
sys.argv = ["compress", "recipes"]
from pipeline.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "let go"
