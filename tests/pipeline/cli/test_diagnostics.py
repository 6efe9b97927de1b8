"""What every command can be asked for when something goes wrong in the field."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from typer.main import get_command
from typer.testing import CliRunner

from foundation import logs
from pipeline.cli import app
from pipeline.commands.schemas import schemas
from pipeline.commands.versions import LIBRARIES

OPTIONS = ("--verbose", "-v", "--log-file", "--traceback")


@pytest.fixture(autouse=True)
def _no_log_afterwards() -> Iterator[None]:
    yield
    logs.stop()


def commands() -> Iterator[tuple[str, ...]]:
    """The program, its groups and all commands, by their words."""
    waiting = [((), get_command(app))]
    for words, command in waiting:
        yield words
        inner = getattr(command, "commands", {})
        waiting += [((*words, name), each) for name, each in inner.items()]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real program; none of what is asked of it here takes long."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *words],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_has_these_options_and_says_so(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert shown.exit_code == 0
    missing = [option for option in OPTIONS if not re.search(rf"\s{option}\b", shown.output)]
    assert not missing, shown.output


def test_the_page_about_them_names_each() -> None:
    page = (Path(__file__).parents[3] / "docs/diagnostics.md").read_text(encoding="utf-8")
    assert all(f"`{option}" in page for option in (*OPTIONS, "COMPRESS_TRACEBACK=1"))
    assert "compress --version" in page


def test_there_are_commands_to_look_at() -> None:
    assert {("run",), ("gate",), ("device", "check"), ("bundle",), ()} <= set(commands())


@pytest.mark.parametrize(
    "words",
    [
        ("-v", "methods", "kd"), ("methods", "kd", "-v"), ("methods", "--verbose", "kd"),
        ("-v", "device", "-v", "list", "-v"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_verbose_tells_on_standard_error_before_the_command_and_behind_it(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    devices = {"COMPRESS_DEVICES": str(tmp_path)}
    quiet = CliRunner(env=devices).invoke(app, [word for word in words if "-v" not in word])
    told = CliRunner(env=devices).invoke(app, words)
    assert quiet.stderr == "" and (told.exit_code, told.stdout) == (0, quiet.stdout)
    assert "INFO pipeline.cli._diagnostics: compress " in told.stderr


def test_a_log_file_gets_what_standard_error_does_not(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    for words in (["--log-file", str(log), "methods"], ["methods", f"--log-file={log}"]):
        done = CliRunner().invoke(app, [*words, "--json"])
        assert done.stderr == "" and json.loads(done.stdout)
    lines = log.read_text().splitlines()
    assert len([line for line in lines if "pipeline.cli._diagnostics: compress" in line]) == 2


def test_home_is_meant_by_its_sign(tmp_path: Path) -> None:
    assert run("methods", "kd", "--log-file=~/a.log", HOME=str(tmp_path)).returncode == 0
    assert (tmp_path / "a.log").stat().st_size > 0


@pytest.mark.parametrize(
    ("words", "code"), [(("gate", "no.json"), 2), (("methods", "kd"), 0), (("report", "no"), 10)]
)
def test_a_log_that_cannot_be_written_on_changes_no_exit_code(
    words: tuple[str, ...], code: int
) -> None:
    done = run(*words, "--log-file", "/dev/full")
    note, *others = done.stderr.splitlines()
    assert (done.returncode, note) == (
        code, "note: /dev/full: No space left on device; the log is not whole",
    )  # fmt: skip
    assert len(others) == bool(code), done.stderr


@pytest.mark.parametrize("command", [("gate",), ("methods",)])
def test_a_log_file_in_no_folder_is_wrong_use_in_one_line(command: tuple[str, ...]) -> None:
    done = run(*command, "--log-file", "no/such/a.log")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: --log-file no/such/a.log: there is no such folder; make it, or choose another "
        "file\n"
    )


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (("--traceback", "report", "no"), {}),
        (("report", "no", "--traceback"), {}),
        (("report", "no"), {"COMPRESS_TRACEBACK": "1"}),
        (("report", "no", "--traceback", "--json"), {}),
    ],
)
def test_the_traceback_behind_an_error_is_shown_before_its_line(
    words: tuple[str, ...], environment: dict[str, str]
) -> None:
    done = run(*words, **environment)
    *traceback, line = done.stderr.splitlines()
    assert traceback[0] == "Traceback (most recent call last):"
    assert re.search(r"^foundation.errors.MissingFileError: ", done.stderr, re.MULTILINE)
    assert line == run("report", "no").stderr.strip()
    assert (done.returncode, done.stdout) == (10, "")


@pytest.mark.parametrize("value", ["", "0"])
def test_no_traceback_is_shown_where_nobody_wants_it(value: str) -> None:
    done = run("report", "no", COMPRESS_TRACEBACK=value)
    assert done.returncode == 10 and len(done.stderr.splitlines()) == 1


def test_a_check_that_failed_has_its_traceback_too(tmp_path: Path) -> None:
    done = run("bundle", "verify", str(tmp_path / "no"), "--json", "--traceback")
    assert json.loads(done.stdout)["passed"] is False
    assert "in read_manifest" in done.stderr


def test_the_version_is_told_with_those_of_the_libraries() -> None:
    lines = CliRunner().invoke(app, ["--version"]).stdout.splitlines()
    told = dict(line.split(" ", 1) for line in lines)
    assert told.keys() == {"compress", "python", "platform", *LIBRARIES}
    assert told["torch"] == version("torch")
    assert told["python"] == sys.version.split()[0]


def test_the_version_as_json_is_as_its_schema_says() -> None:
    for words in (["--version", "--json"], ["--json", "--version"]):
        found = json.loads(CliRunner().invoke(app, words).stdout)
        Draft202012Validator(schemas()["versions.schema.json"]).validate(found)
        assert found["libraries"]["onnxruntime"] == version("onnxruntime")


def test_telling_versions_imports_no_library() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from pipeline.cli import app\n"
        "print(CliRunner().invoke(app, ['--version']).exit_code)\n"
        "print({'torch', 'onnxruntime', 'openvino', 'nncf', 'onnx'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\nset()\n"


@pytest.mark.parametrize("words", [["--json"], ["--json", "methods"]])
def test_json_without_a_command_is_told_where_it_belongs(words: list[str]) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --json alone says nothing; put it behind the command\n"
