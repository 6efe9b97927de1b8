"""SHA-256 of files: each is read once a process for as long as it stays as it is.

Whether it does, the file system tells. Every change of a file gives it a new time of change
(ctime), which nobody can set, so a file that was replaced or written to is another even where its
size is the same and its time of modification was put back. Where a file system keeps no such time
(FAT, sshfs), a change is known by size, time of modification and the file's number.

Other processes of the machine see the same of a file: what one has read, another need not
(`trust`).
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FileState = str
"""What the file system says of a file, as a word; another one after every change of the file."""

# The clocks of file systems tick, every 10 ms at most; where only whole milliseconds are kept, the
# time may be one of whole seconds, or of every other one.
_TICK_NS = 20_000_000
_COARSE_TICK_NS = 2_000_000_000
_WHOLE_NS = 1_000_000

_known: dict[FileState, str] = {}
# Hosts that measure at once, each in a thread, want the same files.
_READING = threading.Lock()


@dataclass(frozen=True)
class CheckedFiles:
    """What whoever checked a bundle tells a process that is to load just this one.

    Attributes:
        manifest_sha256: of the manifest, which stands for all files.
        digests: SHA-256 of the files by their states; good for processes of the same machine.
    """

    manifest_sha256: str
    digests: dict[FileState, str] = field(default_factory=dict)


def digest_of(path: Path) -> tuple[str, FileState | None]:
    """Hex SHA-256 of a file's content, and the state of which it holds.

    The state is None for a file that was changed just now, or while it was read: another change
    might not show, so nothing is remembered of it.

    Raises:
        OSError: when it cannot be read.
    """
    with _READING, path.open("rb") as file:
        now, before = time.time_ns(), os.fstat(file.fileno())
        state = _word(before)
        if state in _known:
            return _known[state], state
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if _ns_until_settled(before, now) > 0 or _word(os.fstat(file.fileno())) != state:
            return digest, None
        _known[state] = digest
        return digest, state


def state_of(path: Path) -> FileState:
    """The state of a file.

    Raises:
        OSError: when it cannot be opened.
    """
    # Opened: a network's file system then asks for what it may only have remembered.
    with path.open("rb") as file:
        return _word(os.fstat(file.fileno()))


def trust(digests: Mapping[FileState, str]) -> None:
    """Take over what another process of this machine has read."""
    _known.update(digests)


def settle(path: Path) -> None:
    """Wait until a change of a file that was just written would show: some milliseconds."""
    left = _ns_until_settled(path.stat(), time.time_ns())
    # More than that is no tick: a clock was set back, or is another machine's.
    if 0 < left <= _COARSE_TICK_NS:
        time.sleep((left + 1) / 1e9)


def _word(stat: os.stat_result) -> FileState:
    parts = stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
    return "-".join(map(str, parts))


def _ns_until_settled(stat: os.stat_result, now_ns: int) -> int:
    """Nanoseconds until a change would have a time of its own; not above 0 where it would now."""
    tick = _TICK_NS if stat.st_ctime_ns % _WHOLE_NS else _COARSE_TICK_NS
    return stat.st_ctime_ns + tick - now_ns
