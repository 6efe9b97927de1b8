"""A run folder that can only be read, as a CI system or an archive gives it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.run_folder.folder import RunFolder

RULES = "[limits]\nsize_mb = { max = 5.0 }\n"


@pytest.fixture
def read_only(own: RunFolder, tmp_path: Path) -> Iterator[RunFolder]:
    """The tiny run, which nobody can write, not even root; without the lock file of a writer."""
    (tmp_path / "budget.toml").write_text(RULES)
    (own.path / ".lock").unlink(missing_ok=True)
    place = str(own.path)
    bound = os.geteuid() == 0 and subprocess.run(["mount", "--bind", place, place], check=False)
    if not bound or bound.returncode:
        pytest.skip("nothing can be mounted read-only here: that needs root and the right to mount")
    subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
    yield own
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def undrawn(own: RunFolder, request: pytest.FixtureRequest) -> RunFolder:
    """The same, but its report was not drawn yet."""
    (own.path / "report.html").unlink()
    run: RunFolder = request.getfixturevalue("read_only")
    return run


@pytest.mark.parametrize(("bound", "code"), [("5.0", 0), ("0.001", 1)])
def test_the_gate_answers_and_says_once_that_its_verdict_is_not_kept(
    read_only: RunFolder, forked, tmp_path: Path, bound: str, code: int
) -> None:
    before = read_only.verdict_path.read_bytes()
    (tmp_path / "budget.toml").write_text(RULES.replace("5.0", bound))
    said = forked("gate", "--budget", "budget.toml", "--json", cwd=tmp_path)
    assert said.code == code, said.err
    assert said.json()["verdict"] == ("fail" if code else "pass")
    assert said.err.count("gate.json could not be kept: Read-only file system") == 1
    assert read_only.verdict_path.read_bytes() == before


def test_the_gate_measures_nothing_again_there(
    read_only: RunFolder, forked, tmp_path: Path
) -> None:
    (tmp_path / "budget.toml").write_text("[limits]\nlatency_p99_ms = { max = 1e9 }\n")
    retry = ("--on-inconclusive", "retry 1")
    said = forked("gate", "--budget", "budget.toml", *retry, "--json", cwd=tmp_path)
    assert said.code == 3, said.err
    assert "so nothing is measured again" in said.err


def test_a_report_that_is_there_already_need_not_be_written(
    read_only: RunFolder, forked, tmp_path: Path
) -> None:
    assert forked("report", cwd=tmp_path).code == 0


def test_the_report_is_written_elsewhere_or_says_how(
    undrawn: RunFolder, forked, tmp_path: Path
) -> None:
    said = forked("report", cwd=tmp_path)
    assert said.code == 9, said.out
    assert "runs/tiny: the report cannot be written there (Read-only" in said.complaint
    assert "--out FOLDER" in said.complaint
    written = forked("report", "--out", "page", "--json", cwd=tmp_path)
    assert written.code == 0, written.err
    names = ("report.html", "report.md", "report-front.png", "report-waterfall.png")
    assert written.json()["written"] == [f"page/{name}" for name in names]
    assert (tmp_path / "page/report.html").stat().st_size > 500


def test_what_must_write_says_so_in_one_line(read_only: RunFolder, forked, tmp_path: Path) -> None:
    said = forked("bench", "--bundle", "local-onnx-int8", cwd=tmp_path)
    assert said.code == 9
    assert "runs/tiny" in said.complaint
    assert "Read-only file system" in said.complaint
