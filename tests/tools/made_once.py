"""What is dear to make and only read is made by one of pytest's workers, for all of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder of that name, filled by `make` in the first worker that asks; others wait for it.

    Where `make` raises, the next one tries again, so that each worker has its own error to tell.
    """
    base = factory.getbasetemp()
    # Each of xdist's workers has a folder of its own within that of the session.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / name
    made = shared / f"{name}.made"
    with FileLock(shared / f"{name}.lock"):
        if not made.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            made.touch()
    return folder
