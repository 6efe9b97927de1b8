"""What a process that failed said is kept, named, bounded, clean, and goes when it does well."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundation import files
from foundation.errors import CompressError, HostError, ModelMismatchError, NoSpaceError
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder import process_output
from pipeline.run_folder.folder import RunFolder, start_run
from pipeline.run_folder.process_output import process_output_kept


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return start_run(tmp_path / "x", Recipe())


def fail(run: RunFolder, output: str, kind: type[CompressError] = HostError) -> str:
    """The message of a step whose process said that and failed."""
    with pytest.raises(kind) as caught, process_output_kept(run, "b@local"):
        try:
            error = kind("far: it broke")
            error.process_output = output
            raise error
        except kind as inner:
            raise kind(f"{inner}; what was timed is kept") from inner
    return str(caught.value)


@pytest.mark.parametrize("kind", [HostError, ModelMismatchError])
def test_it_is_kept_and_the_error_says_where(run: RunFolder, kind: type[CompressError]) -> None:
    path = run.path / "logs/b@local.stderr.txt"
    words = "far: it broke; what was timed is kept"
    assert fail(run, "first\nlast\n", kind) == f"{words}; what it said is in {path}"
    assert path.read_text() == "first\nlast\n"


def test_a_newer_one_takes_its_place_and_success_takes_it_away(run: RunFolder) -> None:
    fail(run, "old")
    fail(run, "new")
    (path,) = run.logs.iterdir()
    assert path.read_text() == "new"
    (run.logs / "other.stderr.txt").write_text("another's")
    with process_output_kept(run, "b@local"):
        pass
    assert [path.name for path in run.logs.iterdir()] == ["other.stderr.txt"]
    with process_output_kept(run, "other"):
        pass
    assert not run.logs.exists()


@pytest.mark.parametrize("output", ["", " \n"])
def test_of_one_that_said_nothing_nothing_is_kept(run: RunFolder, output: str) -> None:
    assert fail(run, output).endswith("what was timed is kept")
    assert not run.logs.exists()


def test_it_is_bounded_and_has_nothing_that_a_terminal_obeys(run: RunFolder) -> None:
    fail(run, "\x1b[31m" + "x" * 300_000 + "\x07the end")
    text = (run.logs / "b@local.stderr.txt").read_text()
    assert len(text) == 1 << 16 and text.endswith("x\\x07the end")


@pytest.mark.parametrize("name", ["logs", "logs/b@local.stderr.txt"])
def test_it_is_not_written_through_a_link(run: RunFolder, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b@local.stderr.txt").write_text("mine")
    link = run.path / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside if name == "logs" else outside / "b@local.stderr.txt")
    assert fail(run, "words").endswith("what was timed is kept")
    with process_output_kept(run, "b@local"):
        pass
    assert (outside / "b@local.stderr.txt").read_text() == "mine"
    assert [path.name for path in outside.iterdir()] == ["b@local.stderr.txt"]


def test_a_full_disk_leaves_the_error_as_it_is(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _text: str) -> None:
        raise NoSpaceError(f"{path}: no space left")

    monkeypatch.setattr(process_output, "write_text", full)
    assert fail(run, "words") == "far: it broke; what was timed is kept"
    assert files.write_text is not full


def test_another_error_passes_as_it_is(run: RunFolder) -> None:
    with pytest.raises(KeyError), process_output_kept(run, "b@local"):
        raise KeyError("x")
