"""What a stage's reference said about fixed views: asked when a view is first seen, read later.

The answers are the very tensors that the first epoch of a view used, bit for bit, so a stage that
was stopped and goes on comes to the result of one that never stopped. They lie in the stage's
folder, a folder a view, memory-mapped by sample, and go when the stage is done:

    view-0000/facts.json  logits.npy  embedding.npy  feature-0.npy …
"""

from __future__ import annotations

import logging
import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foundation.errors import CompressError, CorruptFileError
from foundation.files import check_sha256, no_space_named, read_json, sha256_of, write_json
from foundation.records import record_in
from foundation.sense import at_least
from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.teaching.teacher_views import feature_names, new_array, rows_of
from smskd.teaching.teachers import AskTeacher

logger = logging.getLogger(__name__)

_FACTS = "facts.json"
_NAME = re.compile(r"logits|embedding|feature-\d+")
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_NUMPY: dict[torch.dtype, type] = {
    torch.int16: np.int16,
    torch.int32: np.int32,
    torch.int64: np.int64,
}
_DTYPES = {
    str(kind): kind for kind in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
}


@dataclass(frozen=True)
class ViewFacts:
    """What lies in the folder of one view.

    Attributes:
        fingerprint: of the stage whose reference was asked.
        epoch: of the stage, from 0, in which it was asked.
        dtypes: of each array's numbers, by the array's name.
        sha256: of each array's file.
    """

    fingerprint: str
    epoch: int
    dtypes: dict[str, str]
    sha256: dict[str, str]

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(0, epoch=self.epoch)
        if self.dtypes.keys() != self.sha256.keys() or "logits" not in self.dtypes:
            yield f"arrays {sorted(self.dtypes)} with checksums of {sorted(self.sha256)}"
        yield from (
            f"an array called {name!r}" for name in self.dtypes if not _NAME.fullmatch(name)
        )
        yield from (f"numbers of type {d}" for d in self.dtypes.values() if d not in _DTYPES)


class ReferenceViews:
    """A reference that is asked about a view once, where its samples come back in that view.

    A view is kept if it will come back within the stage, by the order in which they take turns,
    and its answers fit the limit; what is kept depends on nothing else, stops least of all.

    Args:
        folder: takes the answers; nobody else's.
        ask: the reference.
        samples, views: how many there are.
        epochs: of the stage.
        done: epochs that it trained before it was stopped.
        limit: bytes that all answers may take.
        fingerprint: of the stage.
    """

    def __init__(
        self,
        folder: Path,
        ask: AskTeacher,
        *,
        samples: int,
        views: int,
        epochs: int,
        done: int,
        limit: int,
        fingerprint: str,
    ) -> None:
        self.folder, self.samples, self.views = folder, samples, views
        self.epochs, self.limit, self.fingerprint = epochs, limit, fingerprint
        self._ask, self._epoch = ask, done
        self._kept: dict[int, dict[str, _Array]] = {}
        self._new: dict[int, _Recording] = {}
        self._take_up(done)

    def __call__(self, batch: Batch) -> Signals:
        """What the reference says about a batch."""
        if batch.view in self._kept and batch.ids is not None:
            return _read(self._kept[batch.view], rows_of(batch, self.samples), batch.images)
        signals = self._ask(batch)
        recording = self._recording(batch, signals)
        if recording is not None:
            with no_space_named(self.folder):
                recording.add(rows_of(batch, self.samples), signals)
        return signals

    def after_epoch(self) -> None:
        """Keep the views that were seen whole in the epoch that is over.

        Raises:
            NoSpaceError: when the disk is full.
        """
        for view, recording in self._new.items():
            with no_space_named(self.folder):
                if recording.finish(self.fingerprint, self._epoch):
                    self._kept[view] = recording.arrays
                    logger.info("%s: the reference's view %d is kept", self.folder, view)
        self._new.clear()
        self._epoch += 1

    def clear(self) -> None:
        """Take the answers away: the stage is done."""
        self._kept.clear()
        self._new.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _take_up(self, done: int) -> None:
        """Find what finished epochs of this stage left; what else lies there goes."""
        if not self.folder.is_dir():
            return
        for path in sorted(self.folder.iterdir()):
            try:
                facts, arrays = _open(path, self.samples)
                view = int(path.name.removeprefix("view-"))
                # Of an epoch that is to be repeated they are asked again, as they were.
                if facts.fingerprint == self.fingerprint and facts.epoch < done:
                    self._kept[view] = arrays
                    continue
            except (CompressError, OSError, ValueError) as error:
                if not path.name.startswith("."):
                    logger.warning("%s: the reference is asked anew, for %s", path, error)
            shutil.rmtree(path, ignore_errors=True)

    def _recording(self, batch: Batch, signals: Signals) -> _Recording | None:
        view = batch.view
        if view is None or batch.ids is None or self._epoch + self.views >= self.epochs:
            return None
        if view not in self._new:
            size = self.samples * sum(
                math.prod(tensor.shape[1:]) * tensor.element_size()
                for tensor in _named(signals).values()
            )
            if (len(self._kept) + len(self._new) + 1) * size > self.limit:
                return None
            with no_space_named(self.folder):
                place = self.folder / f"view-{view:04d}"
                self._new[view] = _Recording(place, self.samples, signals)
        return self._new[view]


@dataclass(frozen=True)
class _Array:
    """Numbers of any float type, as the bits that they are."""

    bits: NDArray[Any]
    dtype: torch.dtype


class _Recording:
    """One view while it is written: beside its place until it is whole."""

    def __init__(self, place: Path, samples: int, like: Signals) -> None:
        self.place = place
        self.temporary = place.with_name(f".{place.name}.tmp")
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(parents=True)
        self.seen = np.zeros(samples, dtype=bool)
        self.arrays = {
            name: _Array(
                new_array(
                    self.temporary / f"{name}.npy",
                    (samples, *tensor.shape[1:]),
                    _NUMPY[_bits_of(tensor)],
                ),
                tensor.dtype,
            )
            for name, tensor in _named(like).items()
        }

    def add(self, rows: NDArray[np.int64], signals: Signals) -> None:
        for name, tensor in _named(signals).items():
            bits = self.arrays[name].bits
            bits[rows] = tensor.detach().cpu().contiguous().view(_bits_of(tensor)).numpy()
        self.seen[rows] = True

    def finish(self, fingerprint: str, epoch: int) -> bool:
        """Give the view its place, if every sample was seen in it."""
        if not self.seen.all():
            shutil.rmtree(self.temporary, ignore_errors=True)
            return False
        for array in self.arrays.values():
            array.bits.flush()  # type: ignore[attr-defined]
        dtypes = {name: str(array.dtype) for name, array in self.arrays.items()}
        sums = {name: sha256_of(self.temporary / f"{name}.npy") for name in self.arrays}
        facts = ViewFacts(fingerprint, epoch, dtypes, sums)
        write_json(self.temporary / _FACTS, asdict(facts))
        shutil.rmtree(self.place, ignore_errors=True)
        self.temporary.rename(self.place)
        return True


def _open(folder: Path, samples: int) -> tuple[ViewFacts, dict[str, _Array]]:
    """The facts and arrays of a view.

    Raises:
        CompressError, OSError, ValueError: when they are damaged.
    """
    description = "the facts of a reference's view"
    facts = record_in(read_json(folder / _FACTS), folder / _FACTS, ViewFacts, description, "")
    arrays = {}
    for name, dtype in facts.dtypes.items():
        path = folder / f"{name}.npy"
        check_sha256(path, facts.sha256[name])
        bits = np.lib.format.open_memmap(path, "r")
        if len(bits) != samples:
            raise CorruptFileError(f"{path}: has {len(bits)} of {samples} samples")
        arrays[name] = _Array(bits, _DTYPES[dtype])
    return facts, arrays


def _read(arrays: dict[str, _Array], rows: NDArray[np.int64], like: Tensor) -> Signals:
    """What was said about some samples, on the device of `like`."""
    said = {
        name: torch.from_numpy(array.bits[rows]).view(array.dtype).to(like.device)
        for name, array in arrays.items()
    }
    count = sum(name.startswith("feature-") for name in said)
    features = tuple(said[name] for name in feature_names(count))
    return Signals(said["logits"], features, said.get("embedding"))


def _named(signals: Signals) -> dict[str, Tensor]:
    """What a network said, by the names of its arrays."""
    named = {"logits": signals.logits}
    if signals.embedding is not None:
        named["embedding"] = signals.embedding
    names = feature_names(len(signals.features))
    return named | dict(zip(names, signals.features, strict=True))


def _bits_of(tensor: Tensor) -> torch.dtype:
    return _BITS[tensor.element_size()]
