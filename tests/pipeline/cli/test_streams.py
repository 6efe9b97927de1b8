"""Where a command's words go does not change what it answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.run_folder.folder import RunFolder

# Forks of a process that has imported what a gate needs, with standard streams as the order says.
PROGRAM = """
import io, json, os, sys
import pipeline.commands.gate
from pipeline.cli import main

def redirect(number, way, stem):
    if way == "closed":
        os.close(number)
    elif way == "reader gone":
        mine, theirs = os.pipe()
        os.dup2(theirs, number)
        os.close(mine), os.close(theirs)
    else:
        path = "/dev/full" if way == "full" else f"{stem}.{number}"
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)

for line in sys.stdin:
    order = json.loads(line)
    if (child := os.fork()) == 0:
        redirect(1, order["out"], order["stem"])
        redirect(2, order["err"], order["stem"])
        streams = {1: order["out"], 2: order["err"]}
        sys.stdout, sys.stderr = (
            None if way == "closed" else
            io.TextIOWrapper(io.FileIO(number, "w", closefd=False), order["encoding"], "strict")
            for number, way in streams.items()
        )
        sys.argv = ["compress", *order["arguments"]]
        main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
PASSES, FAILS = "[limits]\nsize_mb = { max = 100.0 }", "[limits]\nsize_mb = { max = 0.000001 }"

Words = Callable[..., tuple[int, bytes, bytes]]


@pytest.fixture
def says(own: RunFolder, tmp_path: Path) -> Any:
    """Runs a command in the folder of the tiny road with other streams."""
    (tmp_path / "passes.toml").write_text(PASSES)
    (tmp_path / "fails.toml").write_text(FAILS)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, env={**os.environ, "TERM": "dumb", "NO_COLOR": "1"},
    ) as program:  # fmt: skip

        def call(
            *arguments: str, out: str = "file", err: str = "file", encoding: str = "utf-8"
        ) -> tuple[int, bytes, bytes]:
            assert program.stdin and program.stdout
            stem = tmp_path / f"said-{len(list(tmp_path.iterdir()))}"
            order = {
                "arguments": arguments, "stem": str(stem), "out": out, "err": err,
                "encoding": encoding,
            }  # fmt: skip
            program.stdin.write(json.dumps(order) + "\n")
            program.stdin.flush()
            code = int(program.stdout.readline())
            files = (Path(f"{stem}.{number}") for number in (1, 2))
            return code, *(file.read_bytes() if file.exists() else b"" for file in files)

        yield call
        assert program.stdin
        program.stdin.close()


def test_a_verdict_is_the_same_whoever_reads_it(says: Words) -> None:
    for budget, code in (("passes", 0), ("fails", 1)):
        gate = ("gate", "runs/tiny", "--budget", f"{budget}.toml")
        for out in ("file", "closed", "reader gone", "full"):
            for err in ("file", "closed", "reader gone", "full"):
                assert says(*gate, out=out, err=err)[0] == code, (budget, out, err)
        assert says(*gate, "--format", "junit", out="full")[0] == code
        assert b"note: standard output: No space left on device" in says(*gate, out="full")[2]
        assert says(*gate, out="reader gone")[2] == b""


def test_output_that_is_not_whole_is_told_by_a_command_whose_product_it_is(says: Words) -> None:
    code, _, err = says("report", "runs/tiny", "--json", out="full")
    assert code == 18
    assert err.splitlines()[-1].startswith(b"error: standard output: No space left on device")
    assert says("methods", "--json", out="full")[0] == 18
    assert says("methods", out="reader gone")[0] == 0


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1", "cp1252", "cp437", "koi8-r", "utf-16"])
def test_characters_that_an_encoding_lacks_change_no_exit_code(says: Words, encoding: str) -> None:
    gate = ("gate", "runs/tiny", "--budget", "passes.toml")
    code, out, err = says(*gate, encoding=encoding)
    assert (code, err) == (0, b"")
    assert "PASS" in out.decode(encoding)
    code, out, _ = says(*gate, "--json", encoding=encoding)
    assert code == 0
    assert json.loads(out.decode(encoding))["verdict"] == "pass"
    code, out, err = says("methods", "rkd", encoding=encoding)
    assert (code, err) == (0, b"")
    assert "huber(" in out.decode(encoding)
    assert says("gate", "runs/näme", encoding=encoding)[0] == 2


def test_what_is_not_in_ascii_is_written_alike_or_by_its_number(says: Words) -> None:
    _, out, _ = says("methods", "rkd", encoding="ascii")
    assert b"huber(angle(s), angle(t))" in out
    _, _, err = says("gate", "runs/näme", encoding="ascii")
    assert rb"runs/n\xe4me" in err


def test_a_name_that_is_no_text_is_told(says: Words) -> None:
    """As the system gives file names that are not UTF-8."""
    code, _, err = says("gate", "runs/\udcff")
    assert code == 2
    assert rb"runs/\udcff" in err
