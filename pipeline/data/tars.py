"""Images and labels within tar files, found by one scan and then read by their place.

A sample is what webdataset calls one: members side by side whose names agree up to the first
dot, `KEY.jpg` (or another suffix of an image) and `KEY.cls`, which holds the label in digits.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from foundation.errors import CompressError, NoSpaceError
from foundation.files import replacing, user_path
from pipeline.data.images import Labels
from pipeline.data.kinds import shown
from pipeline.data.listing import Names
from pipeline.data.passed_over import PassedOver
from pipeline.data.shard_scan import samples

_VERSION = 2
_PLACE = np.dtype([("shard", "<i4"), ("size", "<i4"), ("start", "<i8"), ("label", "<i8")])


@dataclass(frozen=True)
class TarImages:
    """Images that lie in tar files.

    Attributes:
        shards: the files.
        places: of each image its shard, its first byte and size there, and its label; shape (N,).
        keys: of each image, for messages.
        remarks: what else was met in the files, a line each.
    """

    shards: Sequence[Path]
    places: NDArray[np.void]
    keys: Names
    remarks: tuple[str, ...] = ()

    @property
    def labels(self) -> Labels:
        return self.places["label"]

    def __len__(self) -> int:
        return len(self.places)

    def name(self, index: int) -> str:
        """The shard's path and the key in it, for messages."""
        return shown(f"{self.shards[self.places[index]['shard']]}: {self.keys[index]}")

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
    places = [index, *_in_cache(index)]
    for path in places:
        images = _read_index(path, stamp, shards)
        if images is not None:
            return images
    images = _scanned(shards)
    for path in places:
        # An index only saves time: where none can be kept, the next run scans again.
        try:
            return _write_index(path, stamp, images)
        except (OSError, NoSpaceError):
            continue
    return images


def _stamp_of(shard: Path) -> tuple[str, int, int]:
    stat = shard.stat()
    return shown(shard.name), stat.st_size, stat.st_mtime_ns


def _in_cache(index: Path) -> list[Path]:
    """Where an index lies in the user's cache; nowhere for a user without a home."""
    try:
        base = user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    except CompressError:
        return []
    place = hashlib.sha256(os.fsencode(index.absolute())).hexdigest()[:16]
    return [base / "edge-compress" / f"{place}-{index.name}"]


def _read_index(path: Path, stamp: str, shards: Sequence[Path]) -> TarImages | None:
    """The images of an index that fits; anybody may have written or damaged it."""
    try:
        if not path.is_file() or not _is_plain(path):
            return None
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["stamp"]) != stamp:
                return None
            keys = Names()
            keys.content.extend(arrays["keys"].tobytes())
            keys.ends.frombytes(arrays["ends"].astype(np.int64).tobytes())
            places = arrays["places"].astype(_PLACE)
            remarks = tuple(str(line) for line in arrays["remarks"])
    except Exception:  # it fails in ways of its own, and is made anew
        return None
    images = TarImages(shards, places, keys, remarks)
    return images if _could_be(images) else None


def _is_plain(path: Path) -> bool:
    """Whether an index holds no more than its file: ours are not compressed."""
    with ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist()) <= path.stat().st_size


def _could_be(images: TarImages) -> bool:
    """Whether what an index says could be true of these files."""
    places, ends = images.places, np.array(images.keys.ends, np.int64)
    shard, start, size = (places[name].astype(np.int64) for name in ("shard", "start", "size"))
    if places.ndim != 1 or len(ends) != len(places) or not len(places):
        return False
    if ends[-1] != len(images.keys.content) or (np.diff(ends, prepend=0) < 0).any():
        return False
    if (shard < 0).any() or (shard >= len(images.shards)).any() or (images.labels < 0).any():
        return False
    sizes = np.array([path.stat().st_size for path in images.shards], np.int64)
    return bool(((start >= 0) & (size >= 0) & (start <= sizes[shard] - size)).all())


def _write_index(path: Path, stamp: str, images: TarImages) -> TarImages:
    content: dict[str, Any] = {
        "stamp": np.array(stamp),
        "places": images.places,
        "keys": np.frombuffer(images.keys.content, np.uint8),
        "ends": np.frombuffer(images.keys.ends, np.int64),
        "remarks": np.array(images.remarks, np.str_),
    }
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **content)
    return images


def _scanned(shards: Sequence[Path]) -> TarImages:
    keys, passed_over = Names(), PassedOver()
    blocks = []
    for number, shard in enumerate(shards):
        places = []
        for sample in samples(shard, passed_over):
            keys.append(sample.key)
            places.append((number, sample.size, sample.start, sample.label))
        blocks.append(np.array(places, _PLACE))
    return TarImages(shards, np.concatenate(blocks), keys, tuple(passed_over.remarks()))
