"""Memory for batches, taken again when nobody has the batch any more."""

from __future__ import annotations

import weakref
from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MOST = 8


class Buffers:
    """Batches of one shape, in memory that is used again and again.

    An allocator asked for so much each time gives it back to the system, which clears it anew, or
    keeps ever more in pieces.

    Args:
        shape: of one image of a batch.
        pin: in pinned memory, of which torch's own allocator takes care: it knows what a GPU is
            still reading.
    """

    def __init__(self, shape: tuple[int, ...], *, pin: bool = False) -> None:
        self.shape, self.pin = shape, pin
        # Each with what was last given out of it; that is gone when no tensor is made of it.
        self._given: deque[tuple[NDArray[np.float32], weakref.ref[NDArray[np.float32]]]] = deque(
            maxlen=_MOST
        )

    def take(self, count: int) -> Tensor:
        """Memory for so many images: float32, shape (count, *shape), of any content."""
        if self.pin:
            return torch.empty(count, *self.shape, pin_memory=True)
        memory = self._free(count)
        if memory is None:
            memory = np.empty((count, *self.shape), np.float32)
        part = memory[:count]
        self._given.append((memory, weakref.ref(part)))
        return torch.from_numpy(part)

    def _free(self, count: int) -> NDArray[np.float32] | None:
        for number, (memory, part) in enumerate(self._given):
            if part() is None and len(memory) >= count:
                del self._given[number]
                return memory
        return None
