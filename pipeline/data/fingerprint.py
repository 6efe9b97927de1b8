"""What a dataset was made of when it was read, so that a change is noticed and named.

Each file that a dataset reads goes by its place in it, its size and its content. Where a file's
size, times and inode are what they were, its content is not read again. Of sets beyond
WHOLE_BYTES only some files' content is looked at, and of large ones of these only parts.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from foundation.files import replacing
from pipeline.data.dataset_files import DatasetFiles, files_of, walk_files
from pipeline.data.images import spread
from pipeline.data.kinds import shown
from pipeline.data.listing import Names

logger = logging.getLogger(__name__)

WHOLE_BYTES = 1 << 30
"""Of sets up to this size the content of every file is known."""

SEEN = "files.npz"
"""Where a run keeps what it saw, in its data folder."""

_SAMPLED_FILES = 4096
_WHOLE_FILE, _PARTS, _PART_BYTES = 1 << 20, 16, 1 << 16
_COPY_WITNESSES = 8
_NAMED = 3
# A file written this shortly before it was looked at may be written again within one tick.
_UNSETTLED_NS = 2_000_000_000
_SIZE, _MTIME = 0, 1
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The files of a dataset at one time.

    Attributes:
        names: their places in it.
        stats: of each its size, the times of its last change and its inode: int64, shape (N, 4).
        digests: of the content of each, zero where it was not looked at: uint8, shape (N, 16).
        is_whole: whether every file's content was looked at.
    """

    names: Names
    stats: NDArray[np.int64]
    digests: NDArray[np.uint8]
    is_whole: bool

    @cached_property
    def identity(self) -> str:
        """Places, sizes and contents in one word; times and the dataset's own place aside."""
        chosen = _sample(len(self.names), self.is_whole)
        digest = hashlib.sha256(bytes(self.names.content))
        digest.update(np.frombuffer(self.names.ends, np.int64).astype("<i8").tobytes())
        digest.update(self.stats[:, _SIZE].astype("<i8").tobytes())
        digest.update(self.digests[chosen].tobytes())
        return digest.hexdigest()

    @property
    def has_content(self) -> NDArray[np.bool_]:
        """Of which files the content was looked at, shape (N,)."""
        return np.asarray(self.digests.any(axis=1))


@dataclass(frozen=True)
class Changes:
    """How a dataset's files differ from what they were, by their places."""

    changed: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.new or self.gone)

    def __str__(self) -> str:
        by_kind = {"changed": self.changed, "new": self.new, "gone": self.gone}
        counts = [f"{len(places)} {kind}" for kind, places in by_kind.items() if places]
        every_place = [place for places in by_kind.values() for place in places]
        if not every_place:
            return "no file changed"
        more = ", …" if len(every_place) > _NAMED else ""
        number, kind = counts[0].split(" ")
        counts[0] = f"{number} file{'' if number == '1' else 's'} {kind}"
        return f"{', '.join(counts)}: {', '.join(map(shown, every_place[:_NAMED]))}{more}"


def take_snapshot(files: DatasetFiles, before: Snapshot | None = None) -> Snapshot | None:
    """Look at a dataset's files; None where there are none.

    Args:
        files: where they lie.
        before: an earlier look at it, perhaps at another place. A file that is as it was then is
            not read again.
    """
    now = time.time_ns()
    names, rows = Names(), list[tuple[int, int, int, int]]()
    for name, row in walk_files(files):
        names.append(name)
        rows.append(row)
    if not rows:
        return None
    stats = np.array(rows, np.int64)
    is_whole = int(stats[:, _SIZE].sum()) <= WHOLE_BYTES
    snapshot = Snapshot(names, stats, np.zeros((len(rows), 16), np.uint8), is_whole)
    old_places = (
        _places(before, snapshot) if before is not None and before.is_whole == is_whole else None
    )
    _look_into(files.root, snapshot, before, old_places)
    unsettled = (stats[:, 1:3].max(axis=1) > now - _UNSETTLED_NS) & snapshot.has_content
    logger.debug(
        "%s: %d files looked at in %.1f s, read as a whole: %s, known from before: %s",
        files.root, len(rows), (time.time_ns() - now) / 1e9, is_whole, old_places is not None,
    )  # fmt: skip
    stats[unsettled, 3] = -1  # no inode has this number: it is read again next time
    return snapshot


def changes_between(before: Snapshot, after: Snapshot) -> Changes:
    """How the files differ.

    A file of which the content was never looked at counts as changed where its time is another,
    unless the whole dataset was copied: then other files show that contents stayed.
    """
    if before.identity == after.identity and before.is_whole:
        return Changes()
    old_places = _places(before, after)
    known = np.flatnonzero(old_places >= 0)
    place = old_places[known]
    resized = before.stats[place, _SIZE] != after.stats[known, _SIZE]
    rewritten = before.stats[place, _MTIME] != after.stats[known, _MTIME]
    comparable = before.has_content[place] & after.has_content[known]
    comparable &= before.is_whole == after.is_whole
    differs = (before.digests[place] != after.digests[known]).any(axis=1)
    changed = resized | (comparable & differs)
    unsure = rewritten & ~comparable & ~resized
    if changed.any() or np.count_nonzero(rewritten & comparable & ~differs) < _COPY_WITNESSES:
        changed |= unsure
    gone = np.setdiff1d(np.arange(len(before.names)), place)
    return Changes(
        tuple(after.names[index] for index in known[changed].tolist()),
        tuple(after.names[index] for index in np.flatnonzero(old_places < 0).tolist()),
        tuple(before.names[index] for index in gone.tolist()),
    )


def is_moved(before: Snapshot | None, old_name: str, new_name: str) -> bool:
    """Whether another name is the same dataset at another place.

    Args:
        before: a look at it where it was.
        old_name, new_name: as recipes name it.
    """
    if before is None or old_name.partition(":")[0] != new_name.partition(":")[0]:
        return False
    files = files_of(new_name)
    after = take_snapshot(files, before) if files is not None else None
    return after is not None and not changes_between(before, after)


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Keep a look at a dataset."""
    content: dict[str, Any] = {
        "version": np.array(_VERSION),
        "names": np.frombuffer(bytes(snapshot.names.content), np.uint8),
        "ends": np.frombuffer(snapshot.names.ends, np.int64),
        "stats": snapshot.stats,
        "digests": snapshot.digests,
        "is_whole": np.array(snapshot.is_whole),
    }
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **content)


def read_snapshot(path: Path) -> Snapshot | None:
    """What `write_snapshot` kept; None where it is not there or no such thing."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if int(arrays["version"]) != _VERSION:
                return None
            names = Names()
            names.content.extend(arrays["names"].tobytes())
            names.ends.frombytes(arrays["ends"].astype(np.int64).tobytes())
            stats = arrays["stats"].astype(np.int64).reshape(len(names), 4)
            digests = arrays["digests"].astype(np.uint8).reshape(len(names), 16)
            return Snapshot(names, stats, digests, bool(arrays["is_whole"]))
    except (KeyError, ValueError, TypeError, OSError, EOFError, BadZipFile):
        return None


def _places(before: Snapshot | None, after: Snapshot) -> NDArray[np.int64]:
    """Of each file its number in an earlier look; -1 where it was not there. Shape (N,)."""
    if before is None:
        return np.full(len(after.names), -1, np.int64)
    if (before.names.content, before.names.ends) == (after.names.content, after.names.ends):
        return np.arange(len(after.names))
    numbers = {before.names[index]: index for index in range(len(before.names))}
    places = [numbers.get(after.names[index], -1) for index in range(len(after.names))]
    return np.array(places, np.int64)


def _look_into(
    root: Path, snapshot: Snapshot, before: Snapshot | None, old_places: NDArray[np.int64] | None
) -> None:
    """Read what is to be known of the files and no earlier look tells."""
    to_read = np.zeros(len(snapshot.names), np.bool_)
    to_read[_sample(len(snapshot.names), snapshot.is_whole)] = True
    if before is not None and old_places is not None:
        had_content = (old_places >= 0) & before.has_content[old_places]
        to_read |= had_content  # or it could not be compared
        same = had_content & (before.stats[old_places] == snapshot.stats).all(axis=1)
        snapshot.digests[same] = before.digests[old_places[same]]
        to_read &= ~same
    for index in np.flatnonzero(to_read).tolist():
        content = _digest(
            root / snapshot.names[index], int(snapshot.stats[index, 0]), snapshot.is_whole
        )
        snapshot.digests[index] = np.frombuffer(content, np.uint8)


def _sample(count: int, is_whole: bool) -> NDArray[np.int64]:
    return np.arange(count) if is_whole else spread(count, _SAMPLED_FILES)


def _digest(path: Path, size: int, is_whole: bool) -> bytes:
    """Of a file's content, or of parts spread over a large one; 16 bytes."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb", buffering=0) as file:
            if is_whole or size <= _WHOLE_FILE:
                # No more at once than there is: memory for each of many small files takes longest.
                while block := file.read(max(min(size + 1, _WHOLE_FILE), 1)):
                    digest.update(block)
            else:
                for start in np.linspace(0, size - _PART_BYTES, _PARTS).astype(int).tolist():
                    file.seek(start)
                    digest.update(file.read(_PART_BYTES) or b"")
    except OSError:  # who reads the images says so
        return hashlib.blake2b(b"not to be read", digest_size=16).digest()
    return digest.digest()
