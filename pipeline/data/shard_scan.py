"""One scan of a tar file: where its samples lie, and what else is in it.

Anybody may have written the file, so sizes are bounded, and the scan only ever goes forward.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from foundation.errors import CorruptFileError, DataLayoutError
from pipeline.data.kinds import SUFFIXES, is_hidden, shown
from pipeline.data.passed_over import PassedOver

_LARGEST_HEADER = 2**20  # bytes that a member's long name or extended header may take
_LARGEST_IMAGE = 2**31 - 1
_LARGEST_LABEL = 64
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}


@dataclass(frozen=True)
class SamplePlace:
    """Where a sample's image lies in a tar file: its key, first byte, size and label."""

    key: str
    start: int
    size: int
    label: int


@dataclass
class _Sample:
    """Members side by side of one key."""

    key: str = ""
    images: list[tarfile.TarInfo] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)


def samples(shard: Path, passed_over: PassedOver) -> Iterator[SamplePlace]:
    """The samples in a tar file.

    Args:
        shard: the file.
        passed_over: takes note of members that belong to none.

    Raises:
        CorruptFileError: when it is not a whole tar file.
        DataLayoutError: when a sample lacks its image or its label, or has several.
    """
    sample = _Sample()
    for tar, member in _members(shard):
        folder, _, name = member.name.rpartition("/")
        stem, _, kind = name.partition(".")
        kind = kind.lower()
        if _is_hidden_member(member.name) or not (kind in SUFFIXES or kind == "cls"):
            _note_passed_over(shard, member, passed_over)
            continue
        _check_plain(shard, member)
        key = f"{folder}/{stem}" if folder else stem
        if key != sample.key:
            yield from _finished_sample(shard, sample)
            sample = _Sample(key)
        if kind == "cls":
            sample.labels.append(_label(shard, member, _content(tar, member)))
        else:
            sample.images.append(member)
    yield from _finished_sample(shard, sample)


def _finished_sample(shard: Path, sample: _Sample) -> Iterator[SamplePlace]:
    """A sample, once its last member is known."""
    images, labels = sample.images, sample.labels
    if not images and not labels:
        return
    place = f"{shard}: {shown(sample.key)}"
    if not images or not labels:
        lacks = f"{shown(sample.key)}.cls" if images else "an image"
        raise DataLayoutError(
            f"{place}: {lacks} is missing beside it; write the shard with image and .cls "
            "of each sample one after the other"
        )
    if len(images) > 1 or len(labels) > 1:
        several = f"{len(images)} images" if len(images) > 1 else f"{len(labels)} labels"
        raise DataLayoutError(
            f"{place}: {several} of one key side by side, so it cannot be told which one is meant; "
            "write the shard with one of each"
        )
    yield SamplePlace(sample.key, images[0].offset_data, images[0].size, labels[0])


def _is_hidden_member(name: str) -> bool:
    """Whether a member, or a folder that it lies in, is nobody's data."""
    return any(is_hidden(part) for part in name.split("/") if part not in (".", ".."))


def _note_passed_over(shard: Path, member: tarfile.TarInfo, passed_over: PassedOver) -> None:
    if member.isdir():
        return
    called = f"{shard.name}: {member.name}"
    if _is_hidden_member(member.name):
        passed_over.add("hidden or system file", called)
    elif not member.isreg():
        passed_over.add("special file", called)
    else:
        passed_over.add_file(called, lambda: b"")


def _check_plain(shard: Path, member: tarfile.TarInfo) -> None:
    """Make sure that an image or a label is a plain file of a size that can be."""
    place = f"{shard}: {shown(member.name)}"
    if not member.isreg() or member.issparse():
        kind = "a link" if member.islnk() or member.issym() else "a sparse or special file"
        raise DataLayoutError(
            f"{place}: {kind}, which is not followed; write the shard with plain files"
        )
    if member.size > _LARGEST_IMAGE:
        raise DataLayoutError(f"{place}: {member.size / 1e9:.1f} GB are too many for one image")


def _label(shard: Path, member: tarfile.TarInfo, content: bytes) -> int:
    text = content.removeprefix(b"\xef\xbb\xbf").strip()
    if not (text.isdigit() and len(text) < 10):
        quoted = text[:20].decode("ascii", "backslashreplace")
        raise DataLayoutError(
            f"{shard}: {shown(member.name)}: a label is a whole number from 0, but got "
            f"{quoted!r}; write the shard again"
        )
    return int(text)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read(_LARGEST_LABEL) if file else b""


def _members(shard: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """All members of a tar file, in their order."""
    with _opened(shard) as file:
        size, reader = shard.stat().st_size, _Headers(file)
        with (
            _damage_named(shard, reader),
            tarfile.open(fileobj=cast("BinaryIO", reader), mode="r:") as tar,
        ):
            while (member := tar.next()) is not None:
                # tarfile would keep every member that it has seen.
                tar.members.clear()  # type: ignore[attr-defined]
                # A header may state a size below zero, and lead back to itself for ever.
                if not member.offset_data <= tar.offset <= size or member.size < 0:
                    raise tarfile.ReadError
                reader.place = tar.offset
                yield tar, member
            # A tar file ends in blocks of zeros; tarfile is content with any end.
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError


class _Headers:
    """A file as tarfile reads its headers: never much at once, however much a header asks for.

    Attributes:
        place: where the header lies that is read next.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.tell, self.place = file, file.tell, 0

    def seek(self, place: int) -> None:
        """Go to a place in the file."""
        self._file.seek(place)

    def read(self, size: int) -> bytes:
        """So many bytes.

        Raises:
            tarfile.ReadError: when they are too many for a header, or fewer than none.
        """
        if not 0 <= size <= _LARGEST_HEADER:
            raise tarfile.ReadError
        return self._file.read(size)


@contextmanager
def _opened(shard: Path) -> Iterator[BinaryIO]:
    try:
        with shard.open("rb") as file:
            yield file
    except PermissionError as error:
        raise DataLayoutError(
            f"{shard}: this user may not read it; make it readable for the user who runs this"
        ) from error


@contextmanager
def _damage_named(shard: Path, reader: _Headers) -> Iterator[None]:
    """Say of a damaged file what it is, where the damage lies, and what to do."""
    try:
        yield
    # Beside its own errors, tarfile meets numbers that are none, and headers about headers.
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise CorruptFileError(
            f"{shard}: not a whole tar file: {_damage(shard, reader)}"
        ) from error


def _damage(shard: Path, reader: _Headers) -> str:
    with shard.open("rb") as file:
        start = file.read(8)
    for magic, name in _PACKED.items():
        if start.startswith(magic):
            return f"it is compressed with {name}, in which no place can be found; unpack it once"
    if not start:
        return "it is empty; copy or write it again"
    return (
        f"cut short or damaged from byte {reader.place} on (it has {shard.stat().st_size}); "
        "copy or write it again"
    )
