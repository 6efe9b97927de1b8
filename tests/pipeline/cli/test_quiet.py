"""--quiet, NO_COLOR, and the panels of --help."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foundation.errors import UsageError
from foundation.logs import is_quiet
from pipeline.cli import app
from pipeline.cli._panels import ASKED, COMES_OUT, RARE
from pipeline.run_folder.folder import RunFolder
from pipeline.shown.console import progress_console, remarks_on

# SGR codes of colours, 30 to 38 and 90 to 97 and their backgrounds; bold and dim are none.
_COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9\d|10[0-7])(?:;\d+)*m")


@pytest.mark.parametrize("words", [["-q", "run", "tiny.toml"], ["run", "tiny.toml", "--quiet"]])
def test_a_quiet_run_says_its_result_alone(own: RunFolder, compress, tmp_path: Path, words) -> None:
    said = compress(*words, cwd=tmp_path)
    assert (said.code, said.err) == (0, "")
    assert "Gate: PASS" in said.out and "report.html" in said.out
    aloud = compress("run", "tiny.toml", cwd=tmp_path)
    assert "bench" in aloud.err  # the check would see it


def test_a_quiet_command_tells_its_error(forked, tmp_path: Path) -> None:
    said = forked("gate", "nowhere", "-q", cwd=tmp_path)
    assert said.code == 2 and said.complaint.startswith("error: nowhere")


def test_a_quiet_gate_warns_of_what_it_could_not_keep(own: RunFolder, compress, tmp_path) -> None:
    history = tmp_path / "no" / "such" / "folder.jsonl"
    history.parent.parent.write_text("a file where a folder should be")
    said = compress("gate", "-q", "--history-file", history, cwd=tmp_path)
    assert said.code == 0 and "could not be added to the history" in said.err


def test_quiet_and_verbose_are_too_much() -> None:
    said = CliRunner().invoke(app, ["targets", "-q", "-v"])
    assert isinstance(said.exception, UsageError) and "--quiet" in str(said.exception)


def test_one_quiet_command_makes_the_next_one_no_quieter(capsys: pytest.CaptureFixture) -> None:
    assert CliRunner().invoke(app, ["targets", "rpi4", "-q"]).exit_code == 0
    assert is_quiet()
    assert CliRunner().invoke(app, ["targets", "rpi4"]).exit_code == 0
    assert not is_quiet()
    remarks_on(progress_console())("heard")
    assert "heard" in capsys.readouterr().err


def on_a_terminal(*words: str, cwd: Path, **environment: str) -> str:
    """What a command shows on a terminal of its own, codes and all."""
    ours, its = pty.openpty()
    dropped = {"NO_COLOR", "FORCE_COLOR", "COLORTERM"}
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("compress")), *words],
        stdin=subprocess.DEVNULL, stdout=its, stderr=its, cwd=cwd,
        env={**kept, "TERM": "xterm-256color", **environment},
    )  # fmt: skip
    os.close(its)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # it has left
            break
        if not part:
            break
        shown += part
    process.wait()
    os.close(ours)
    return shown.decode()


@pytest.mark.parametrize("words", [["--help"], ["gate"], ["targets", "--bogus"]], ids=" ".join)
def test_no_color_takes_colours_away(own: RunFolder, tmp_path: Path, words: list[str]) -> None:
    assert _COLOUR.search(on_a_terminal(*words, cwd=tmp_path))
    assert not _COLOUR.search(on_a_terminal(*words, cwd=tmp_path, NO_COLOR="1"))


def test_an_empty_no_color_asks_for_nothing(tmp_path: Path) -> None:
    assert _COLOUR.search(on_a_terminal("--help", cwd=tmp_path, NO_COLOR=""))


@pytest.mark.parametrize("command", ["init", "distill", "export", "bench", "gate", "study"])
def test_the_help_of_many_options_is_in_panels(command: str) -> None:
    said = CliRunner().invoke(
        app, [command, "--help"], env={"COLUMNS": "120", "TERM": "dumb", "NO_COLOR": "1"}
    )
    assert said.exit_code == 0
    heads = re.findall(r"[╭+][─-]+ ([A-Z][a-z ]+?) [─-]+", said.output)
    expected = [ASKED, COMES_OUT, *([] if command == "init" else [RARE]), "Diagnostics"]
    assert [head for head in heads if head not in {"Arguments", "Options"}] == expected
    # Under the plain heading stands the help alone.
    (plain,) = re.findall(r"─ Options ─.*?╰", said.output, re.DOTALL)
    assert re.findall(r"--[a-z-]+", plain) == ["--help"]
