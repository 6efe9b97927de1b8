"""Repeating a run while a runtime's profiler listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

_FEWEST = 5
_SECONDS = 4.0


def repeat(run: Callable[[], None], runs: int) -> None:
    """Call `run` that often, or for as long as a few seconds, but a few times at least."""
    end = time.monotonic() + _SECONDS
    for done in range(runs):
        if done >= _FEWEST and time.monotonic() > end:
            return
        run()


def typical(milliseconds: Sequence[float]) -> float:
    """The lower quartile of all but the first fifth of the runs.

    The first ones allocate and warm up, and what else runs on the machine only adds.
    """
    settled = milliseconds[len(milliseconds) // 5 :]
    return float(np.quantile(settled, 0.25))
