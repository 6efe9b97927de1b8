"""The devices that were set up from here: a small file each, for `compress device list`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy_targets.hosts.host_names import url_problems
from foundation.files import write_json
from foundation.records import as_dict, read_record
from foundation.sense import named

VARIABLE = "COMPRESS_DEVICES"


@dataclass(frozen=True)
class Known:
    """A device as it was when it was set up last.

    Attributes:
        url: how it is reached.
        board, cpu, arch, python: what it is.
        folder: where all of ours lies there.
        runtimes: versions by package.
        set_up_at: ISO 8601, UTC.
    """

    url: str
    board: str | None
    cpu: str | None
    arch: str
    python: str
    folder: str
    runtimes: dict[str, str]
    set_up_at: str

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from url_problems(self.url)
        yield from named(board=self.board, cpu=self.cpu, arch=self.arch, python=self.python)
        yield from named(folder=self.folder, set_up_at=self.set_up_at)


def register_folder() -> Path:
    """Where the files lie: COMPRESS_DEVICES, or in the user's state folder."""
    override, home = os.environ.get(VARIABLE), os.environ.get("XDG_STATE_HOME")
    if override:
        return Path(override)
    return (Path(home) if home else Path.home() / ".local/state") / "compress" / "devices"


def known_devices() -> list[Known]:
    """All of them, by URL.

    Raises:
        CorruptFileError: when a file is not what was written.
    """
    devices = [_read(path) for path in sorted(register_folder().glob("*.json"))]
    return sorted(devices, key=lambda device: device.url)


def remember(device: Known) -> None:
    """Put a device on the list, in the place of what was known of it."""
    write_json(_path(device.url), as_dict(device))


def forget(url: str) -> None:
    """Take a device off the list, if it is there."""
    _path(url).unlink(missing_ok=True)


def _path(url: str) -> Path:
    return register_folder() / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.json"


def _read(path: Path) -> Known:
    return read_record(path, Known, "a device", "delete it, and set the device up again")
