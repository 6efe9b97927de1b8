"""Several processes of one command, as torchrun starts them: who leads, and waiting for all.

Reading this needs no torch, so that every command can ask who it is.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smskd.engine import Engine


def leads() -> bool:
    """Whether this process is the one that writes and speaks for all; alone, it is."""
    return int(os.environ.get("RANK", "0")) == 0


def join_processes(engine: Engine) -> None:
    """Find the other processes, if torchrun started several."""
    if _several():
        engine.fabric()


def wait_for_all() -> None:
    """Go on once every process has come this far."""
    if _several():
        from smskd.parallel import wait_for_all as barrier  # noqa: PLC0415 - torch

        barrier()


def share() -> tuple[int, int]:
    """This process's part of every batch: (its number, how many there are)."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def _several() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1
