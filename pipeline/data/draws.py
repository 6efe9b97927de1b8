"""Random numbers without state: what is drawn is a function of what is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from itertools import count as counted

import numpy as np
from numpy.typing import NDArray

from pipeline.data.images import Ids

_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD = 2**64 - 1
_PURPOSE_BITS = 16


class Purpose(IntEnum):
    """What a stream of numbers is for: no two draw the same ones."""

    POLICY = 1
    COLOURS = 2
    ERASING = 3
    CROP = 4


def uniform(seed: int, ids: Ids, view: int, count: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) that depend on nothing but the arguments: shape (len(ids), count).

    A counter run through the mixing function of SplitMix64 (Steele, Lea, Flood 2014).
    """
    state = _mixed(np.full(1, seed, np.uint64))
    state = _mixed(state + np.uint64(view))
    state = _mixed(state + ids.astype(np.uint64))
    state = _mixed(np.add(state[:, None], np.arange(count, dtype=np.uint64)))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def numbers(seed: int, sample: int, view: int, purpose: Purpose | int = 0) -> Iterator[float]:
    """As many of them as somebody needs, for one sample: those of `uniform` without a purpose."""
    state = _mixed_word(_mixed_word(_mixed_word(seed) + view) + sample)
    for counter in counted(purpose << _PURPOSE_BITS):
        yield (_mixed_word(state + counter) >> 11) * 2.0**-53


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z: NDArray[np.uint64] = x + np.uint64(_GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_FIRST)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_SECOND)
    return z ^ (z >> np.uint64(31))


def _mixed_word(x: int) -> int:
    z = (x + _GOLDEN) & _WORD
    z = ((z ^ (z >> 30)) * _FIRST) & _WORD
    z = ((z ^ (z >> 27)) * _SECOND) & _WORD
    return z ^ (z >> 31)
