"""Pictures as pixels on disk: any number of threads and processes add to them and read them.

Each process appends to a pair of files of its own: NAME.pixels has the pictures one after the
other, NAME.index a record of each. A record is written after its pixels, so what a killed process
leaves is whole or not there, and nobody waits for a lock of another process. Pixels are read
through the system's page cache and not mapped: a process's memory stays as it is, and a file that
somebody cut short is an answer and not a signal.
"""

from __future__ import annotations

import os
import secrets
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

_RECORD = np.dtype(
    [
        ("number", "<i8"), ("start", "<i8"), ("height", "<u4"), ("width", "<u4"),
        ("channels", "<u2"), ("is_whole", "<u2"), ("version", "<u4"), ("checksum", "<u8"),
    ]
)  # fmt: skip
_VERSION = 1
_NOWHERE = -1
_LONGEST_SIDE = 2**16


class PixelStore:
    """Arrays of uint8, shape (H, W, C) each, by number.

    Args:
        folder: where they lie; made when it is not there.
        count: numbers go from 0 to count - 1.

    Raises:
        OSError: when the folder cannot be made or read.
    """

    def __init__(self, folder: Path, count: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.count = folder, count
        self._file = np.full(count, _NOWHERE, np.int32)
        self._records = np.zeros(count, _RECORD)
        self._is_checked = np.zeros(count, np.bool_)
        self._names: list[str] = []
        self._readers: dict[int, int] = {}
        self._indexed: dict[str, int] = {}
        self._own: _Appended | None = None
        self._lock = threading.Lock()
        self.refresh()

    def __len__(self) -> int:
        return int((self._file != _NOWHERE).sum())

    def refresh(self) -> None:
        """Take notice of what other processes have added since."""
        for path in sorted(self.folder.glob("*.index")):
            if self._own is None or path.stem != self._own.name:
                self._take_in(path)

    def shape(self, number: int) -> tuple[int, int, int] | None:
        """Height, width and channels of a picture; None where it is not there."""
        if self._file[number] == _NOWHERE:
            return None
        record = self._records[number]
        return int(record["height"]), int(record["width"]), int(record["channels"])

    def read(self, number: int, top: int = 0, bottom: int | None = None) -> Pixels | None:
        """Rows of a picture: uint8, shape (bottom - top, W, C); None where it is not there.

        The first time that this process reads a picture, all of it is held against its checksum;
        one that is not as it was written is not there.
        """
        shape = self.shape(number)
        if shape is None:
            return None
        if not self._is_checked[number]:
            whole = self._rows(number, 0, shape[0])
            if whole is None or checksum(whole) != int(self._records[number]["checksum"]):
                self._file[number] = _NOWHERE
                return None
            self._is_checked[number] = True
            return whole[top:bottom]
        rows = self._rows(number, top, shape[0] if bottom is None else bottom)
        if rows is None:
            self._file[number] = _NOWHERE
        return rows

    def is_whole(self, number: int) -> bool:
        """Whether a picture is there as it was, and not made smaller."""
        return self._file[number] != _NOWHERE and bool(self._records[number]["is_whole"])

    def add(self, number: int, pixels: Pixels, *, is_whole: bool = True) -> None:
        """Keep a picture.

        Args:
            number: of the picture.
            pixels: its pixels.
            is_whole: whether these are all that it had.

        Raises:
            OSError: when it cannot be written; then it is not there.
        """
        pixels = np.ascontiguousarray(pixels)
        with self._lock:
            # A forked process does not write where its parent does.
            if self._own is None or self._own.process != os.getpid():
                self._own = _Appended(self.folder)
                self._names.append(self._own.name)
            own = self._own
            start = own.reserve(pixels.nbytes)
        own.write(pixels, start)
        height, width, channels = pixels.shape
        record = np.array(
            (number, start, height, width, channels, is_whole, _VERSION, checksum(pixels)), _RECORD
        )
        with self._lock:
            own.note(record)
            self._records[number] = record
            self._is_checked[number] = True
            self._file[number] = self._names.index(own.name)

    def _take_in(self, path: Path) -> None:
        """Read the records of another process that are new."""
        known = self._indexed.get(path.stem, 0)
        try:
            with path.open("rb") as file:
                file.seek(known * _RECORD.itemsize)
                content = file.read()
            size = path.with_suffix(".pixels").stat().st_size
        except FileNotFoundError:
            return
        # A killed process may have left part of a record.
        count = len(content) // _RECORD.itemsize
        records = np.frombuffer(content, _RECORD, count)
        self._indexed[path.stem] = known + count
        with self._lock:
            if path.stem not in self._names:
                self._names.append(path.stem)
            whole = records[_is_possible(records, self.count, size)]
            missing = whole[self._file[whole["number"]] == _NOWHERE]
            self._records[missing["number"]] = missing
            self._is_checked[missing["number"]] = False
            self._file[missing["number"]] = self._names.index(path.stem)

    def _rows(self, number: int, top: int, bottom: int) -> Pixels | None:
        record = self._records[number]
        width, channels = int(record["width"]), int(record["channels"])
        rows = np.empty((bottom - top, width, channels), np.uint8)
        start = int(record["start"]) + top * width * channels
        descriptor = self._reader(int(self._file[number]))
        if descriptor is None or os.preadv(descriptor, [rows.data], start) != rows.nbytes:
            return None
        return rows

    def _reader(self, place: int) -> int | None:
        with self._lock:
            if place not in self._readers:
                path = self.folder / f"{self._names[place]}.pixels"
                try:
                    self._readers[place] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                except FileNotFoundError:
                    return None
            return self._readers[place]

    def close(self) -> None:
        """Let go of all files."""
        with self._lock:
            for descriptor in self._readers.values():
                os.close(descriptor)
            self._readers.clear()
            if self._own is not None:
                self._own.close()
                self._own = None

    def __del__(self) -> None:
        if hasattr(self, "_lock"):
            self.close()


class _Appended:
    """The pair of files that one process writes."""

    def __init__(self, folder: Path) -> None:
        self.process = os.getpid()
        self.name = f"{self.process}-{secrets.token_hex(6)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._pixels = os.open(folder / f"{self.name}.pixels", flags, 0o666)
        self._index = os.open(folder / f"{self.name}.index", flags | os.O_APPEND, 0o666)
        self._end = 0

    def reserve(self, size: int) -> int:
        """Where so many bytes may be written."""
        start = self._end
        self._end += size
        return start

    def write(self, pixels: Pixels, start: int) -> None:
        """Write a picture where it was reserved."""
        rest = memoryview(pixels).cast("B")  # type: ignore[arg-type]
        while rest:
            written = os.pwrite(self._pixels, rest, start)
            rest, start = rest[written:], start + written

    def note(self, record: NDArray[np.void]) -> None:
        """Say that a picture is written."""
        os.write(self._index, record.tobytes())

    def close(self) -> None:
        os.close(self._pixels)
        os.close(self._index)


def checksum(pixels: Pixels) -> int:
    """The sum of all words of eight bytes: a page that was never written shows in it.

    Args:
        pixels: contiguous.
    """
    flat = pixels.reshape(-1)
    whole = len(flat) // 8 * 8
    words = flat[:whole].view(np.uint64).sum(dtype=np.uint64)
    return (int(words) + int(flat[whole:].sum(dtype=np.uint64))) % 2**64


def _is_possible(records: NDArray[np.void], count: int, size: int) -> NDArray[np.bool_]:
    """Which records can be true of a file of so many bytes: shape (N,), bool."""
    number, start = records["number"], records["start"]
    sides = [records[name].astype(np.int64) for name in ("height", "width")]
    channels = records["channels"].astype(np.int64)
    is_possible = (records["version"] == _VERSION) & (number >= 0) & (number < count)
    for side in sides:
        is_possible &= (side > 0) & (side < _LONGEST_SIDE)
    is_possible &= (channels > 0) & (channels <= 4) & (start >= 0) & (start <= size)
    possible: NDArray[np.bool_] = is_possible & (sides[0] * sides[1] * channels <= size - start)
    return possible
