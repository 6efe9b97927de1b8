"""What a training step is given, and what loaders make of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from foundation.errors import DataLayoutError
from smskd.batch import Batch, as_batch, sample_count

IMAGES, LABELS, IDS = torch.randn(2, 1, 4, 4), torch.tensor([0, 1]), torch.tensor([7, 3])


@pytest.mark.parametrize("kind", [tuple, list])
def test_images_and_labels_make_a_batch(kind: type) -> None:
    batch = as_batch(kind([IMAGES, LABELS]))
    assert batch.images is IMAGES
    assert batch.labels is LABELS
    assert (batch.ids, batch.view, batch.teacher_images) == (None, None, None)


@pytest.mark.parametrize("kind", [tuple, list])
def test_a_third_part_is_the_ids(kind: type) -> None:
    assert as_batch(kind([IMAGES, LABELS, IDS])).ids is IDS


def test_what_follows_the_ids_is_left_out() -> None:
    assert as_batch((IMAGES, LABELS, IDS, "paths")) == Batch(IMAGES, LABELS, IDS)


def test_a_batch_stays_the_batch_that_it_is() -> None:
    batch = Batch(IMAGES, LABELS, IDS, view=3, teacher_images=IMAGES.repeat(1, 1, 2, 2))
    assert as_batch(batch) is batch


def test_the_teacher_sees_what_the_student_sees_unless_it_has_images_of_its_own() -> None:
    larger = IMAGES.repeat(1, 1, 2, 2)
    assert Batch(IMAGES, LABELS).seen_by_teacher is IMAGES
    assert Batch(IMAGES, LABELS, teacher_images=larger).seen_by_teacher is larger


def test_labels_that_are_probabilities_are_of_mixed_images() -> None:
    assert Batch(IMAGES, torch.tensor([[0.5, 0.5], [1.0, 0.0]])).mixed
    assert not Batch(IMAGES, LABELS).mixed


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"images": IMAGES, "labels": LABELS}, "a dict"),
        (IMAGES, "a Tensor"),
        ("images", "a str"),
        (None, "a NoneType"),
        ((IMAGES,), r"\(Tensor\)"),
        ((), r"\(\)"),
        ((IMAGES, [0, 1]), r"\(Tensor, list\)"),
        (([IMAGES, IMAGES], LABELS), r"\(list, Tensor\)"),
        ((IMAGES, LABELS, ("a.png", "b.png")), r"\(Tensor, Tensor, tuple\)"),
    ],
)
def test_what_is_no_batch_is_told_in_one_line(given: Any, shown: str) -> None:
    expected = rf"a batch must be tensors \(images, labels\) .* but got {shown}$"
    with pytest.raises(DataLayoutError, match=expected) as caught:
        as_batch(given)
    assert "\n" not in str(caught.value)


class Counting:
    samples = 12

    def __iter__(self) -> Iterator[Any]:
        yield IMAGES, LABELS


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield IMAGES[0], LABELS[0]


def test_the_loaders_own_count_is_believed() -> None:
    assert sample_count(Counting()) == 12


def test_a_data_loader_has_as_many_samples_as_its_dataset() -> None:
    dataset = TensorDataset(torch.zeros(10, 1), torch.zeros(10))
    assert sample_count(DataLoader(dataset, batch_size=4, drop_last=True)) == 10


@pytest.mark.parametrize("batches", [[(IMAGES, LABELS)], DataLoader(Stream()), iter([])])
def test_batches_that_do_not_tell_have_no_count(batches: Any) -> None:
    assert sample_count(batches) is None
