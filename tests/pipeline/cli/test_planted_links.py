"""Whoever gives a run folder away may have put links into it: nothing is written through them."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundation.errors import CorruptFileError
from pipeline.recipe.file import load_recipe
from pipeline.run_folder.folder import RunFolder, open_run, start_run


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in (folder, *folder.rglob("*"))
    }


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder and a file that are nobody's of ours."""
    (tmp_path / "outside/inner").mkdir(parents=True)
    (tmp_path / "outside/inner/file").write_text("mine")
    (tmp_path / "outside/file").write_text("mine")
    return tmp_path / "outside"


def test_at_whatever_name_it_lies_a_link_out_of_a_run_folder_is_refused(
    road, outside: Path, tmp_path: Path
) -> None:
    """In a folder that is begun as in one that is gone on with."""
    assert road.said.code == 0, road.said.err
    recipe, before = load_recipe(road.recipe, {}).recipe, state(outside)
    root = road.run.path
    names = [path.relative_to(root) for path in root.rglob("*")]
    names += [Path(name) for name in (".lock", "gate.json", "bench/x@local.journal", "trials/x")]
    assert len(names) > 60
    for number, name in enumerate(names):
        run = RunFolder(tmp_path / f"runs/{number}")
        link = run.path / name
        link.parent.mkdir(parents=True)
        is_folder = (root / name).is_dir()
        link.symlink_to(outside if is_folder else outside / "file", target_is_directory=is_folder)
        with pytest.raises(CorruptFileError, match="is a link that leads out of"):
            start_run(run.path, recipe)
        with pytest.raises(CorruptFileError, match="is a link that leads out of"), run.locked():
            raise AssertionError("nothing may be done here")
    assert state(outside) == before


@pytest.mark.parametrize(
    "command", ["run", "distill", "export", "bench", "report", "gate", "estimate"]
)
def test_no_command_works_in_a_folder_with_such_a_link(
    command: str, own: RunFolder, outside: Path, forked
) -> None:
    before = state(outside)
    for name in ("local-onnx-fp32@local.journal", "comparisons"):
        link = own.bench / name
        link.unlink(missing_ok=True)
        link.symlink_to(outside / ("file" if "." in name else "inner"))
    names = {"run": ["tiny.toml"], "distill": ["tiny.toml"]}
    more = {"gate": ["runs/tiny"], "estimate": ["runs/tiny", "--target", "rpi4"]}
    given = names.get(command) or more.get(command) or ["runs/tiny"]
    said = forked(command, *given, cwd=own.path.parents[1])
    # A gate says by 2 that it could not judge.
    assert said.code == (2 if command == "gate" else 16), said.err
    assert "is a link that leads out of runs/tiny" in said.complaint
    assert state(outside) == before


def test_the_record_of_a_run_is_not_touched_through_a_link(own: RunFolder, outside: Path) -> None:
    (outside / "run.json").write_bytes(own.record_path.read_bytes())
    own.record_path.unlink()
    own.record_path.symlink_to(outside / "run.json")
    before = state(outside)
    open_run(own.path)
    assert state(outside) == before


def test_a_run_folder_may_itself_lie_behind_a_link(own: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    own.path.rename(tmp_path / "disk/tiny")
    own.path.symlink_to(tmp_path / "disk/tiny", target_is_directory=True)
    with open_run(own.path).locked():
        own.note(seen=True)
    assert RunFolder(tmp_path / "disk/tiny").record()["seen"]
