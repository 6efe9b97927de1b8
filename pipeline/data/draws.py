"""Random numbers without state: what is drawn is a function of what is asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.data.images import Ids


def uniform(seed: int, ids: Ids, view: int, count: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) that depend on nothing but the arguments: shape (len(ids), count).

    A counter run through the mixing function of SplitMix64 (Steele, Lea, Flood 2014).
    """
    state = _mixed(np.full(1, seed, np.uint64))
    state = _mixed(state + np.uint64(view))
    state = _mixed(state + ids.astype(np.uint64))
    state = _mixed(np.add(state[:, None], np.arange(count, dtype=np.uint64)))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z: NDArray[np.uint64] = x + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
