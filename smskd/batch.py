"""What one training step is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from foundation.errors import DataLayoutError, TrainingError
from foundation.labels import UNLABELLED


class Batch(NamedTuple):
    """Samples of one training step. Any (images, labels) or (images, labels, ids) will do as one.

    Attributes:
        images: what the student sees, shape (N, C, H, W).
        labels: classes, shape (N,), int64, `UNLABELLED` where nobody says what an image shows; or
            probabilities of the classes, shape (N, classes), float, for images that were mixed,
            all 0 where nobody says it of one of the two.
        ids: number of each sample in the training set, shape (N,), int64.
        view: which of its fixed views every sample is seen in; None when the view will not
            come back.
        teacher_images: what the teacher sees, where it takes images of another size.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor | None = None
    view: int | None = None
    teacher_images: Tensor | None = None

    @property
    def seen_by_teacher(self) -> Tensor:
        """The teacher's images: its own, or else the student's."""
        return self.images if self.teacher_images is None else self.teacher_images

    @property
    def mixed(self) -> bool:
        """Whether labels are probabilities rather than classes."""
        return self.labels.dim() == 2


def has_label(labels: Tensor) -> Tensor:
    """Of which samples somebody says what they show: shape (N,), bool.

    Args:
        labels: as those of a `Batch`.
    """
    return labels != UNLABELLED if labels.dim() == 1 else labels.sum(1) > 0


Batches = Iterable[Batch] | Iterable[Sequence[Any]]


def as_batch(item: Sequence[Any]) -> Batch:
    """A loader's batch as a `Batch`.

    Raises:
        DataLayoutError: when it is something else.
    """
    if isinstance(item, Batch):
        return item
    if isinstance(item, tuple | list):
        parts, description = item[:3], f"({', '.join(type(part).__name__ for part in item)})"
        if len(parts) > 1 and all(isinstance(part, Tensor) for part in parts):
            return Batch(*parts)
    else:
        description = f"a {type(item).__name__}"
    raise DataLayoutError(
        f"a batch must be tensors (images, labels) or (images, labels, ids), but got {description}"
    )


def first_batch(batches: Batches) -> Batch:
    """The batch that a loader gives first, for looking at shapes.

    Raises:
        TrainingError: when there is none.
    """
    # A shuffling loader draws the caller's own random numbers, which are none of our business.
    with torch.random.fork_rng():
        for batch in batches:
            return as_batch(batch)
    raise TrainingError("the training data gave no batch")


def sample_count(batches: Batches) -> int | None:
    """How many samples a loader's ids are numbers of; None when it does not tell.

    Its own `samples`, or the length of the `dataset` that a DataLoader has.
    """
    samples = getattr(batches, "samples", None)
    if isinstance(samples, int):
        return samples
    try:
        return len(batches.dataset)  # type: ignore[union-attr]
    except (AttributeError, TypeError):
        return None
