from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from export._folders import replacing_folder

KILLED_WHILE_WRITING = """
import os, sys
from pathlib import Path
from export._folders import replacing_folder
with replacing_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    os._exit(9)
"""


def test_the_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    for name in ("first", "second"):
        with replacing_folder(target) as folder:
            (folder / name).write_text(name)
    assert [path.name for path in target.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_keeps_the_earlier_folder(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    with replacing_folder(target) as folder:
        (folder / "first").write_text("first")
    with pytest.raises(RuntimeError), replacing_folder(target) as folder:
        (folder / "second").write_text("second")
        raise RuntimeError
    assert [path.name for path in target.iterdir()] == ["first"]
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, target], check=False)
    assert killed.returncode == 9
    assert not target.exists()
    assert (tmp_path / ".bundle.tmp" / "half").exists()
    with replacing_folder(target) as folder:
        (folder / "whole").write_text("whole")
    assert [path.name for path in target.iterdir()] == ["whole"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_had_stepped_aside_comes_back(tmp_path: Path) -> None:
    """The process died after the old folder stepped aside and before the new one took its place."""
    target = tmp_path / "bundle"
    (tmp_path / ".bundle.old").mkdir()
    (tmp_path / ".bundle.old" / "earlier").write_text("earlier")
    with pytest.raises(RuntimeError), replacing_folder(target):
        raise RuntimeError
    assert [path.name for path in target.iterdir()] == ["earlier"]
