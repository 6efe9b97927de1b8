"""Profiles that a run was exported for, where they are the user's own.

A shipped profile is known by its name wherever this program is. One of the user's may lie in a
file that does not travel, so the run keeps what it said: targets/NAME.json.
"""

from __future__ import annotations

from pathlib import Path

from deploy_targets.targets import Target, is_shipped, load_target, read_target, write_target
from foundation.errors import UnknownNameError
from pipeline.runs import RunFolder


def remember_target(run: RunFolder, name_or_path: str, target: Target) -> None:
    """Keep a profile of the user's in the run, as it is now."""
    path = _path(run, target.name)
    if is_shipped(name_or_path):
        path.unlink(missing_ok=True)
    else:
        write_target(path, target)


def target_of(run: RunFolder, name: str) -> Target | None:
    """The profile that a bundle of the run was made for; None where nobody knows it any more.

    Raises:
        CorruptFileError: when what the run kept is no profile.
    """
    path = _path(run, name)
    if path.is_file():
        return read_target(path)
    try:
        return load_target(name)
    except UnknownNameError:
        return None


def _path(run: RunFolder, name: str) -> Path:
    return run.path / "targets" / f"{name}.json"
