"""What is told of a task, and under which conditions its process runs: known wherever it runs.

A message is a word below, or the name of a listener's method, with what goes with it.
"""

from __future__ import annotations

STARTED = "started"
"""A process works on it: where."""
ENDED = "ended"
"""It came to its end: why it failed, or None."""
FAILED = "failed"
"""What a process says of its own failure: message, exit code, traceback."""
LOG = "log"
"""A log line: its record."""


def arithmetic_environment(threads: int) -> dict[str, str]:
    """What the arithmetic libraries of a process read when they are loaded.

    Passive: on cores that others use too, threads that spin while they wait for each other double
    the time.
    """
    return {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
