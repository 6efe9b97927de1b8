"""Profiles that a run was exported for, where they are the user's own.

A shipped profile is known by its name wherever this program is. One of the user's may lie in a
file that does not travel, so the run keeps what it said: targets/NAME.json.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from deploy_targets.targets import Target, is_shipped, load_target, read_target, write_target
from foundation.bundle import read_manifest
from foundation.errors import CorruptFileError, UnknownNameError
from pipeline.run_folder.folder import RunFolder


def remember_target(run: RunFolder, name_or_path: str, target: Target) -> list[str]:
    """Keep a profile of the user's in the run, as it is now.

    Returns:
        A line, where bundles of the run were made for another profile of that name.
    """
    before = _profile_before(run, target.name)
    path = _path(run, target.name)
    if is_shipped(name_or_path):
        path.unlink(missing_ok=True)
    else:
        write_target(path, target)
    if before is None or before == target:
        return []
    others = [
        field.name for field in fields(Target) if _of(before, field.name) != _of(target, field.name)
    ]
    return [
        f"target {target.name}: {name_or_path} is another profile than the one of that name which "
        f"this run's bundles were made for (other: {', '.join(others)}), and takes its place"
    ]


def _of(target: Target, name: str) -> object:
    return getattr(target, name)


def _profile_before(run: RunFolder, name: str) -> Target | None:
    """The profile that the run's bundles of a target were made for; None where there are none."""
    if not any(read_manifest(folder).target == name for folder in run.bundle_folders()):
        return None
    try:
        return target_of(run, name)
    except CorruptFileError:
        return None


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
