"""What tests of several rooms share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def doomed() -> dict[str, str]:
    """The environment of a process that will be killed: not asked for coverage, whose data file
    it would leave half-written."""
    asks = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
    return {key: value for key, value in os.environ.items() if key not in asks}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """A file system in memory of 160 kB, and a function that gives it another size."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or not _mount("-t", "tmpfs", "-o", "size=160k", "tmpfs", str(folder)):
        pytest.skip("a small disk cannot be mounted here: that needs root and the right to mount")

    def resize(size: str) -> None:
        assert _mount("-o", f"remount,size={size}", str(folder))

    yield folder, resize
    subprocess.run(["umount", str(folder)], check=True)


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0
