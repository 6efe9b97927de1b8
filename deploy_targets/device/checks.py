"""Does the model still answer as it should: against the original's logits, and against labels."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from deploy_targets.device.messages import Accuracy, Counted, Parity
from foundation.agreement import agreement_of
from foundation.bundle import Bundle
from foundation.errors import (
    CorruptFileError,
    DataLayoutError,
    MissingFileError,
    ModelMismatchError,
)
from foundation.memory import at_once
from foundation.statistics import wilson_interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Run: TypeAlias = "Callable[[NDArray[Any]], NDArray[np.float32]]"
Prepare: TypeAlias = "Callable[[NDArray[np.uint8]], NDArray[Any]]"

EVALUATION_BATCH = 64
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def load_probe(bundle: Bundle) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """The probe images as the model takes them (at least one) and the original's logits.

    Raises:
        CorruptFileError: when the probe cannot be read or does not fit the bundle.
    """
    images, logits = bundle.probe()
    return bundle.prepare(images), logits


def parity(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> Parity:
    """Compare logits with the original's, both of shape (N, classes), N at least 1.

    Raises:
        ModelMismatchError: when the shapes differ or an output is not finite.
    """
    import numpy as np  # noqa: PLC0415

    if outputs.shape != reference.shape:
        raise ModelMismatchError(
            f"the model gives logits of shape {outputs.shape} where the original gave "
            f"{reference.shape}; export the bundle again"
        )
    if not np.isfinite(outputs).all():
        raise ModelMismatchError(
            "the model gives infinite or undefined logits on the probe images; "
            "export it in another precision"
        )
    return Parity(**asdict(agreement_of(reference, outputs)))


def worst_parity(first: Parity, second: Parity) -> Parity:
    """Of the same images asked in two ways, the worse of each figure."""
    errors = (first.relative_error, second.relative_error)
    return Parity(
        max_abs_error=max(first.max_abs_error, second.max_abs_error),
        relative_error=max((error for error in errors if error is not None), default=None),
        top1_agreement=_least(first.top1_agreement, second.top1_agreement),
        n=first.n,
    )


def _least(*shares: float | None) -> float | None:
    return min((share for share in shares if share is not None), default=None)


def count_correct(run: Run, path: Path, prepare: Prepare, done: int = 0) -> Iterator[Counted]:
    """What a model calls the images of an evaluation file, and which rightly, at most 64 at a time.

    Args:
        run: from prepared images to logits.
        path: the file.
        prepare: from uint8 images to what `run` takes, such as `Bundle.prepare`.
        done: images that were counted before.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is not an .npz of `images` and `labels`.
        DataLayoutError: when its images or labels do not fit each other or the model.
    """
    import numpy as np  # noqa: PLC0415

    images, labels = load_evaluation(path)
    size = at_once(images, EVALUATION_BATCH)
    for start in range(done, len(images), size):
        part = slice(start, start + size)
        try:
            batch = prepare(images[part])
        except ValueError as error:
            raise DataLayoutError(f"{path}: {error}") from error
        answers = run(batch).argmax(1)
        right = answers == labels[part]
        said = " ".join(map(str, answers.tolist()))
        yield Counted(np.packbits(right).tobytes().hex(), len(right), said)


def accuracy_of(counts: Iterable[Counted], labels_sha256: str | None = None) -> Accuracy:
    """Top-1 accuracy, of at least one image, with its interval."""
    right, said = _answers_of(counts)
    return _accuracy(right, said, labels_sha256)


def accuracy_in_parts(
    counts: Iterable[Counted], labels_sha256: tuple[str, str], start: int
) -> tuple[Accuracy | None, Accuracy | None]:
    """The same of the images before number `start`, and of that and those after it; None of none.

    Args:
        counts: of all images.
        labels_sha256: of the labels of either part, as `labels_of` has it.
        start: number of the first image of the second part.
    """
    right, said = _answers_of(counts)

    def part(digest: str, images: slice) -> Accuracy | None:
        own = None if said is None else said[images]
        return _accuracy(right[images], own, digest) if len(right[images]) else None

    before, since = labels_sha256
    return part(before, slice(start)), part(since, slice(start, None))


def _answers_of(counts: Iterable[Counted]) -> tuple[NDArray[np.uint8], list[str] | None]:
    """Which images were answered rightly, shape (N,), and what each was called; None where one of
    the counts does not tell."""
    import numpy as np  # noqa: PLC0415

    counts = list(counts)
    said = [counted.answers for counted in counts if counted.answers is not None]
    parts = [
        np.unpackbits(np.frombuffer(bytes.fromhex(counted.right), np.uint8), count=counted.n)
        for counted in counts
    ]
    return np.concatenate(parts), " ".join(said).split() if len(said) == len(counts) else None


def _accuracy(
    right: NDArray[np.uint8], said: Sequence[str] | None, labels_sha256: str | None
) -> Accuracy:
    import numpy as np  # noqa: PLC0415

    correct, n = int(right.sum()), len(right)
    low, high = wilson_interval(correct, n)
    bits = np.packbits(right).tobytes().hex()
    answers = None if said is None else " ".join(said)
    return Accuracy(correct / n, n, low, high, bits, labels_sha256, answers)


def labels_of(path: Path, part: slice = slice(None)) -> tuple[str, int]:
    """What tells an evaluation file's labels, or a part of them, in their order, from others; and
    how many they are.

    Raises:
        CorruptFileError: when it is not an .npz of `images` and `labels`.
    """
    import numpy as np  # noqa: PLC0415

    try:
        with np.load(path, allow_pickle=False) as arrays:
            labels = arrays["labels"].astype("<i8")[part]
    except _UNREADABLE as error:
        raise _not_an_evaluation(path, error) from error
    return hashlib.sha256(labels.tobytes()).hexdigest(), labels.size


def load_evaluation(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
    """The images (N, height, width, channels) and labels (N,) of an evaluation file, N ≥ 1."""
    import numpy as np  # noqa: PLC0415

    if not path.is_file():
        raise MissingFileError(f"{path}: no such evaluation file")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
    except _UNREADABLE as error:
        raise _not_an_evaluation(path, error) from error
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1]:
        raise DataLayoutError(
            f"{path}: labels must be one whole number an image, "
            f"but got {labels.dtype} {labels.shape} for images {images.shape}"
        )
    if len(images) == 0:
        raise DataLayoutError(f"{path}: holds no image")
    return images, labels


def _not_an_evaluation(path: Path, error: Exception) -> CorruptFileError:
    return CorruptFileError(
        f"{path}: not an .npz file of `images` and `labels` ({error}); make it anew"
    )
