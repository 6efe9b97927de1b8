"""Memory for large arrays: how many images are worked on at once, and what becomes of freed memory.

A network's layers each take a large array and free it again. glibc maps and unmaps such arrays one
by one, and the kernel clears every page anew: on photos that costs as much time as the arithmetic.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH_BYTES = 5_000_000  # 8 colour images of 224×224 in float32
_FLOAT32_BYTES = 4
# glibc's names for what it can be told, in malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_LARGEST = 2**31 - 1
_SETTINGS = (
    "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES",
)  # fmt: skip


def images_at_once(height: int, width: int, channels: int, most: int) -> int:
    """How many images a network is asked about at once, so that its layers' results stay small.

    Args:
        height, width, channels: of an image, which a network takes in float32.
        most: for small images.

    Returns:
        1 to `most`.
    """
    size = height * width * channels * _FLOAT32_BYTES
    return max(1, min(most, _BATCH_BYTES // size))


def at_once(images: NDArray[Any], most: int) -> int:
    """`images_at_once` for images of shape (N, H, W, C) or (N, C, H, W)."""
    first, second, third = images.shape[1:]
    return images_at_once(first, second, third, most)


def give_back_freed_memory() -> None:
    """Give the system what `keep_freed_memory` has kept, where other work begins."""
    trim = None if sys.platform != "linux" else getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@cache
def keep_freed_memory() -> bool:
    """Tell this process's allocator to keep freed memory for the next large array.

    For the whole process, and once. Nothing is told to an allocator that is not glibc's, or that
    somebody has set by the environment (`MALLOC_MMAP_MAX_`, `GLIBC_TUNABLES` and the like).

    Returns:
        Whether it was told.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _SETTINGS):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _LARGEST))
