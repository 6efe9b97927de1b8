"""Images and labels within tar files, found by one scan and then read by their place.

A sample is what webdataset calls one: members side by side whose names agree up to the first
dot, `KEY.jpg` (or .jpeg, .png) and `KEY.cls`, which holds the label in digits.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from foundation.errors import CorruptFileError, DataLayoutError, NoSpaceError
from foundation.files import replacing
from pipeline.data.images import Labels
from pipeline.data.listing import Names

_IMAGES = {"jpeg", "jpg", "png"}
_VERSION = 1
_PLACE = np.dtype([("shard", "<i4"), ("size", "<i4"), ("start", "<i8"), ("label", "<i8")])


@dataclass(frozen=True)
class TarImages:
    """Images that lie in tar files.

    Attributes:
        shards: the files.
        places: of each image its shard, its first byte and size there, and its label; shape (N,).
        keys: of each image, for messages.
    """

    shards: Sequence[Path]
    places: NDArray[np.void]
    keys: Names

    @property
    def labels(self) -> Labels:
        return self.places["label"]

    def __len__(self) -> int:
        return len(self.places)

    def name(self, index: int) -> str:
        """The shard's path and the key in it, for messages."""
        return f"{self.shards[self.places[index]['shard']]}: {self.keys[index]}"

    def open(self, index: int) -> BytesIO:
        """The image as its file would hold it."""
        place = self.places[index]
        with self.shards[place["shard"]].open("rb", buffering=0) as file:
            file.seek(place["start"])
            return BytesIO(file.read(place["size"]))


def tar_images(shards: Sequence[Path], index: Path) -> TarImages:
    """The images in tar files, from the index of an earlier scan, if nothing has changed since.

    Args:
        shards: the files.
        index: where the index is kept, or in the user's cache where that cannot be written.

    Raises:
        CorruptFileError: when a file is not a whole tar file.
        DataLayoutError: when a sample lacks its image or its label.
    """
    stamp = json.dumps([_VERSION, [_stamp_of(shard) for shard in shards]])
    kept = [index, _in_cache(index)]
    for path in kept:
        found = _read_index(path, stamp, shards)
        if found is not None:
            return found
    images = _scanned(shards)
    for path in kept:
        # An index only saves time: where none can be kept, the next run scans again.
        try:
            return _write_index(path, stamp, images)
        except (OSError, NoSpaceError):
            continue
    return images


def _stamp_of(shard: Path) -> tuple[str, int, int]:
    stat = shard.stat()
    return shard.name, stat.st_size, stat.st_mtime_ns


def _in_cache(index: Path) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    place = hashlib.sha256(os.fsencode(index.absolute())).hexdigest()[:16]
    return base / "edge-compress" / f"{place}-{index.name}"


def _read_index(path: Path, stamp: str, shards: Sequence[Path]) -> TarImages | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["stamp"]) != stamp:
                return None
            keys = Names()
            keys.content.extend(arrays["keys"].tobytes())
            keys.ends.frombytes(arrays["ends"].astype(np.int64).tobytes())
            return TarImages(shards, arrays["places"].astype(_PLACE), keys)
    except (KeyError, ValueError, TypeError, OSError, EOFError, BadZipFile):
        return None


def _write_index(path: Path, stamp: str, images: TarImages) -> TarImages:
    content: dict[str, Any] = {
        "stamp": np.array(stamp),
        "places": images.places,
        "keys": np.frombuffer(images.keys.content, np.uint8),
        "ends": np.frombuffer(images.keys.ends, np.int64),
    }
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **content)
    return images


def _scanned(shards: Sequence[Path]) -> TarImages:
    keys = Names()
    blocks = []
    for number, shard in enumerate(shards):
        places = []
        for key, start, size, label in _samples(shard):
            keys.append(key)
            places.append((number, size, start, label))
        blocks.append(np.array(places, _PLACE))
    return TarImages(shards, np.concatenate(blocks), keys)


def _samples(shard: Path) -> Iterator[tuple[str, int, int, int]]:
    """Key, first byte, size and label of each image in a tar file."""
    key, image, label = "", None, None
    for member, read in _members(shard):
        folder, _, name = member.name.rpartition("/")
        stem, _, kind = name.partition(".")
        if (next_key := f"{folder}/{stem}" if folder else stem) != key:
            yield from _sample(shard, key, image, label)
            key, image, label = next_key, None, None
        if kind.lower() in _IMAGES:
            image = member
        elif kind.lower() == "cls":
            label = _label(shard, key, read())
    yield from _sample(shard, key, image, label)


def _sample(
    shard: Path, key: str, image: tarfile.TarInfo | None, label: int | None
) -> Iterator[tuple[str, int, int, int]]:
    if image is None and label is None:
        return
    if image is None or label is None:
        lacks = "an image" if image is None else f"{key}.cls"
        raise DataLayoutError(
            f"{shard}: {key}: {lacks} is missing beside it; write the shard with image and .cls "
            "of each sample one after the other"
        )
    yield key, image.offset_data, image.size, label


def _label(shard: Path, key: str, content: bytes) -> int:
    text = content.strip()
    if not (text.isdigit() and len(text) < 10):
        shown = text[:20].decode("ascii", "backslashreplace")
        raise DataLayoutError(
            f"{shard}: {key}.cls: a label is a whole number from 0, but got {shown!r}; "
            "write the shard again"
        )
    return int(text)


def _members(shard: Path) -> Iterator[tuple[tarfile.TarInfo, Callable[[], bytes]]]:
    """The regular files in a tar file, each with what reads it."""
    try:
        with tarfile.open(shard, "r:") as tar:
            while (member := tar.next()) is not None:
                # tarfile would keep every member that it has seen.
                tar.members.clear()  # type: ignore[attr-defined]
                if member.isreg() and not member.issparse():
                    yield member, partial(_content, tar, member)
            _check_end(shard, tar.offset)
    except tarfile.TarError as error:
        raise CorruptFileError(
            f"{shard}: not a whole tar file ({error}); copy or write it again"
        ) from error


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file else b""


def _check_end(shard: Path, offset: int) -> None:
    """A tar file ends in blocks of zeros; tarfile is content with any end."""
    with shard.open("rb") as file:
        file.seek(offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"what stands at byte {offset} is no file in it")
