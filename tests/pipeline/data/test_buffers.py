from __future__ import annotations

import pytest
import torch

from pipeline.data.buffers import Buffers


def test_memory_is_used_again_once_nobody_has_it() -> None:
    buffers = Buffers((2, 3))
    first = buffers.take(4)
    assert (first.shape, first.dtype) == ((4, 2, 3), torch.float32)
    place = first.data_ptr()
    second = buffers.take(4)
    assert second.data_ptr() != place
    del first
    assert buffers.take(4).data_ptr() == place


@pytest.mark.parametrize(
    "hold",
    [
        lambda batch: batch.permute(0, 2, 1)[1:],
        lambda batch: batch.numpy(),
        lambda batch: batch[0].detach(),
        lambda batch: batch.untyped_storage(),
        lambda batch: [batch],
    ],
)
def test_memory_is_not_taken_from_whoever_holds_part_of_it(hold) -> None:
    buffers = Buffers((2, 3))
    batch = buffers.take(4)
    place = batch.data_ptr()
    held = hold(batch)
    del batch
    others = [buffers.take(4) for _ in range(20)]
    assert place not in {other.data_ptr() for other in others}
    assert held is not None


def test_a_smaller_batch_fits_where_a_larger_one_was_and_not_the_reverse() -> None:
    buffers = Buffers((5,))
    place = buffers.take(4).data_ptr()
    small = buffers.take(3)
    assert small.data_ptr() == place
    assert small.shape == (3, 5)
    del small
    assert buffers.take(6).shape == (6, 5)


def test_no_more_is_kept_than_a_training_needs() -> None:
    buffers = Buffers((5,))
    held = [buffers.take(2) for _ in range(100)]
    assert len({batch.data_ptr() for batch in held}) == 100
    assert len(buffers._given) == 8
