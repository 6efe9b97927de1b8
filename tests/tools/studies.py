"""A study as a process that can be killed with all its children, and its figures without times."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PATIENCE_S = 200

_COMPRESS = Path(sys.executable).with_name("compress")
_TIMES = {"seconds", "seconds_per_epoch", "relative_time", "relative_compute"}


def timeless(values: Any) -> Any:
    """A study's figures but those that say how long something took."""
    if isinstance(values, dict):
        return {key: timeless(value) for key, value in values.items() if key not in _TIMES}
    return [timeless(value) for value in values] if isinstance(values, list) else values


def start(folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A study of small.toml in a folder."""
    # A session of its own: the whole group is killed, as when a machine goes down.
    return subprocess.Popen(
        [_COMPRESS, "study", "small.toml", "--jobs", "2"],
        cwd=folder,
        env={**environment, "COLUMNS": "200", "TERM": "dumb"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def group_is_gone(process: subprocess.Popen[bytes]) -> bool:
    """Whether nobody of a process' group is left."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        members = [path for path in Path("/proc").glob("[0-9]*/stat") if _in_group(path, process)]
        if not members:
            return True
        time.sleep(0.05)
    return False


def is_gone(number: int) -> bool:
    """Whether a process has ended, or does so soon."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def _in_group(stat: Path, process: subprocess.Popen[bytes]) -> bool:
    try:
        state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
    except OSError:
        return False
    return state != "Z" and int(group) == process.pid


def begun(log: Path, task: str, command: subprocess.Popen[Any]) -> int:
    """The number of the process that a task began in, once the study's log has it."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        text = log.read_text() if log.exists() else ""
        if found := re.search(rf"{re.escape(task)}: begun in process (\d+)", text):
            return int(found[1])
        assert command.poll() is None, text
        time.sleep(0.005)
    raise AssertionError(f"{task} did not begin")
