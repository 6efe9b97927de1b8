"""What the teacher said, kept on disk: asked once, heard by every epoch, stage, seed and arm.

Each sample has V fixed views (augmentation is a function of sample and view). For each view one
folder holds what the teacher said about every sample in it, as memory-mapped arrays whose row is
the sample's id:

    facts.json            what it was made from: teacher, taps, data, augmentation, precision
    view-0000/logits.npy  embedding.npy  feature-0.npy …
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from foundation.errors import CorruptFileError, RunMismatchError, TrainingError
from foundation.files import check_inside, no_space_named, read_json, write_json
from foundation.records import record_in
from foundation.sense import at_least
from smskd.batch import Batch
from smskd.features.signals import Shapes, Signals
from smskd.listening import Listener

logger = logging.getLogger(__name__)

_FACTS = "facts.json"
_DELETE = "delete the folder"
_HALF_MAX = float(np.finfo(np.float16).max)

Ask = Callable[[Batch], Signals]


@dataclass(frozen=True)
class ViewsFacts:
    """What the files of kept views are; beside it stands what they were made from.

    Attributes:
        views, samples: how many.
        features: how many were kept of each.
        embedding: whether it was kept.
    """

    views: int
    samples: int
    features: int
    embedding: bool

    FURTHER_KEYS: ClassVar[bool] = True

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(1, views=self.views, samples=self.samples)
        yield from at_least(0, features=self.features)


class TeacherViews:
    """Reads what was kept.

    Args:
        folder: as `keep_teacher_views` left it.
        reference_limit: bytes that what a stage's reference says about these views may take, while
            the stage is trained.

    Raises:
        CorruptFileError: when the folder's facts cannot be understood.
    """

    def __init__(self, folder: Path, reference_limit: int = 4_000_000_000) -> None:
        self.folder, self.reference_limit = folder, reference_limit
        self.facts: dict[str, Any] = read_json(folder / _FACTS, _DELETE)
        description = "the facts of kept teacher views"
        facts = record_in(self.facts, folder / _FACTS, ViewsFacts, description, _DELETE)
        self.views, self.samples, self.feature_count = facts.views, facts.samples, facts.features
        self._embedding_name = ["embedding"] if facts.embedding else []

    @property
    def has_features(self) -> bool:
        """Whether features were kept too."""
        return self.feature_count > 0

    def read(self, batch: Batch) -> Signals:
        """What the teacher said about a batch: logits in float32, the rest in float16.

        Raises:
            TrainingError: when the batch does not say which samples and view it shows.
            CorruptFileError: when a file is damaged or missing.
        """
        if batch.view is None or not 0 <= batch.view < self.views:
            raise TrainingError(
                f"the teacher's {self.views} kept views serve batches with ids and one of these "
                f"views, but the batch has view {batch.view}; ask the teacher anew instead"
            )
        rows = rows_of(batch, self.samples)
        arrays = self._arrays[batch.view]
        parts = {name: torch.from_numpy(array[rows]) for name, array in arrays.items()}
        features = tuple(parts[name] for name in feature_names(self.feature_count))
        return Signals(parts["logits"], features, parts.get("embedding"))

    @cached_property
    def _arrays(self) -> list[dict[str, NDArray[Any]]]:
        return [self._open(view) for view in range(self.views)]

    def _open(self, view: int) -> dict[str, NDArray[Any]]:
        folder = _view_folder(self.folder, view)
        names = ["logits", *self._embedding_name, *feature_names(self.feature_count)]
        try:
            arrays: dict[str, NDArray[Any]] = {
                name: np.lib.format.open_memmap(folder / f"{name}.npy", "r") for name in names
            }
        except (OSError, ValueError) as error:
            raise _spoilt(folder, str(error)) from error
        for name, array in arrays.items():
            if len(array) != self.samples:
                raise _spoilt(folder, f"{name}.npy has {len(array)} of {self.samples} samples")
        return arrays


def keep_teacher_views(
    folder: Path,
    ask: Ask,
    batches_of: Callable[[int], Iterable[Batch]],
    *,
    samples: int,
    views: int,
    shapes: Shapes,
    made_from: Mapping[str, Any],
    feature_limit: int,
    listener: Listener | None = None,
) -> TeacherViews:
    """Ask the teacher about every view of every sample, or go on where that was stopped.

    Args:
        folder: takes the files; nothing in it is ever changed once it is whole.
        ask: the teacher.
        batches_of: all samples once, with ids, in a given view.
        samples, views: how many.
        shapes: of what the teacher says.
        made_from: JSON-able values that what it says depends on.
        feature_limit: bytes that the features of all views may take; beyond it only logits and
            embeddings are kept. It is the limit of a reference's answers too.
        listener: is told of every view.

    Raises:
        RunMismatchError: when the folder holds what another teacher said.
        TrainingError: when the batches do not show every sample, or do not tell which.
        NoSpaceError: when the disk is full; views that are whole stay.
    """
    listener = listener or Listener()
    feature_shapes = shapes.features if features_fit(shapes, samples, views, feature_limit) else ()
    facts = {
        **made_from,
        "views": views,
        "samples": samples,
        "features": len(feature_shapes),
        "embedding": shapes.embedding is not None,
    }
    facts = json.loads(json.dumps(facts))  # as they will be read, tuples as lists
    folder.mkdir(parents=True, exist_ok=True)
    check_inside(folder)
    with FileLock(folder / ".lock"):
        if (folder / _FACTS).exists() and read_json(folder / _FACTS) != facts:
            raise RunMismatchError(f"{folder}: holds what another teacher said; delete it")
        write_json(folder / _FACTS, facts)
        logger.info("%s: views of the teacher: %s", folder, facts)
        missing = [view for view in range(views) if not _view_folder(folder, view).exists()]
        if missing:
            listener.views_started(views, views - len(missing))
        for view in missing:
            with no_space_named(folder):
                _record(
                    _view_folder(folder, view),
                    ask,
                    batches_of(view),
                    samples=samples,
                    shapes=shapes,
                    feature_shapes=feature_shapes,
                )
            logger.info("%s: view %d of %d is kept", folder, view + 1, views)
            listener.view_done()
        if missing:
            listener.views_done()
    return TeacherViews(folder, feature_limit)


def features_fit(shapes: Shapes, samples: int, views: int, feature_limit: int) -> bool:
    """Whether features in float16 of all views take no more than so many bytes."""
    numbers = sum(math.prod(shape) for shape in shapes.features)
    return 2 * numbers * samples * views <= feature_limit


def _record(
    folder: Path,
    ask: Ask,
    batches: Iterable[Batch],
    *,
    samples: int,
    shapes: Shapes,
    feature_shapes: tuple[tuple[int, ...], ...],
) -> None:
    """Write one view into a folder beside its place, then rename it: it is there whole or not."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    layouts: dict[str, tuple[tuple[int, ...], type]] = {"logits": (shapes.logits, np.float32)}
    if shapes.embedding is not None:
        layouts["embedding"] = ((shapes.embedding,), np.float16)
    layouts |= {
        f"feature-{place}": (shape, np.float16) for place, shape in enumerate(feature_shapes)
    }
    arrays = {
        name: new_array(temporary / f"{name}.npy", (samples, *shape), dtype)
        for name, (shape, dtype) in layouts.items()
    }
    recorded = np.zeros(samples, dtype=bool)
    for batch in batches:
        rows, signals = rows_of(batch, samples), ask(batch)
        arrays["logits"][rows] = signals.logits.float().cpu().numpy()
        if signals.embedding is not None:
            arrays["embedding"][rows] = _half(signals.embedding)
        for place in range(len(feature_shapes)):
            arrays[f"feature-{place}"][rows] = _half(signals.features[place])
        recorded[rows] = True
    if not recorded.all():
        count = int(recorded.sum())
        raise TrainingError(f"{folder}: {count} of {samples} samples were shown to the teacher")
    for array in arrays.values():  # written out, then the folder takes its name
        array.flush()
    temporary.rename(folder)


def rows_of(batch: Batch, samples: int) -> NDArray[np.int64]:
    """The samples that a batch shows.

    Raises:
        TrainingError: when it does not tell, or numbers samples that are not there.
    """
    if batch.ids is None:
        raise TrainingError("kept teacher views need batches with ids: (images, labels, ids)")
    rows: NDArray[np.int64] = batch.ids.cpu().numpy()
    if rows.min(initial=0) < 0 or rows.max(initial=0) >= samples:
        raise TrainingError(
            f"kept teacher views are of {samples} samples, numbered from 0, but a batch has ids "
            f"from {rows.min()} to {rows.max()}"
        )
    return rows


def _spoilt(folder: Path, why: str) -> CorruptFileError:
    return CorruptFileError(
        f"{folder}: not the teacher's views ({why}); delete the folder to ask it anew"
    )


def feature_names(count: int) -> list[str]:
    """What the arrays of so many features are called."""
    return [f"feature-{place}" for place in range(count)]


def new_array(path: Path, shape: tuple[int, ...], dtype: type) -> np.memmap[Any, Any]:
    """A file of numbers, mapped into memory, with its room on the disk.

    Raises:
        OSError: when the disk is full.
    """
    array: np.memmap[Any, Any] = np.lib.format.open_memmap(path, "w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        # Now, as an error that can be told of: a full disk met by a write to mapped memory kills.
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _half(tensor: Tensor) -> NDArray[np.float16]:
    # Saturated rather than infinite where a feature is larger than the type can say.
    return tensor.float().clamp(-_HALF_MAX, _HALF_MAX).half().cpu().numpy()


def _view_folder(folder: Path, view: int) -> Path:
    return folder / f"view-{view:04d}"
