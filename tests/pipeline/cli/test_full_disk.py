"""A disk that fills up in the middle of the road."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.runs import RunFolder
from smskd.training import METRICS


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """A file system of 1.6 MB, and a function that gives it another size."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or not mount("-t", "tmpfs", "-o", "size=1600k", "tmpfs", str(folder)):
        pytest.skip("a small disk cannot be mounted here: that needs root and the right to mount")

    def resize(size: str) -> None:
        assert mount("-o", f"remount,size={size}", str(folder))

    yield folder, resize
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_with_its_own_code_and_with_more_space_it_goes_on(
    small_disk, compress, road, tiny: str, tmp_path: Path
) -> None:
    folder, resize = small_disk
    (tmp_path / "tiny.toml").write_text(tiny)
    command = ("distill", "tiny.toml", "--run", folder / "run")
    said = compress(*command, cwd=tmp_path)
    assert said.code == 18, said.err
    assert str(folder) in said.complaint
    assert "no space left" in said.complaint

    # Data and teacher found room; they are whole, and stay.
    run = RunFolder(folder / "run")
    made = [run.data / "facts.json", run.teacher / "weights.safetensors", run.teacher / METRICS]
    assert not run.student.exists()
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in made}
    assert not list(folder.rglob("*.tmp"))
    resize("20m")
    said = compress(*command, cwd=tmp_path)
    assert said.code == 0, said.err
    assert "teacher: labels" not in said.err
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in made} == before

    # Stopped or not, the student is the same.
    assert run.student.read_bytes() == road.run.student.read_bytes()
