"""Arrays of the user's as a graph takes them: a row a sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.bundle import TensorSpec
from foundation.errors import DataLayoutError

MOST_BYTES = 4 << 30
"""Of all samples that are kept: they lie in memory."""


def rows_of(spec: TensorSpec, values: Any, where: str) -> NDArray[Any]:
    """Samples of one input, (samples, *shape of the input), in the input's own type.

    Args:
        spec: the input.
        values: (samples, *shape), or where the input's first size is 1, without that one.
        where: their file, for messages.

    Raises:
        DataLayoutError: when they are of another shape, or of numbers that the type does not hold.
    """
    array, shape = np.asarray(values), tuple(map(int, spec.shape))
    if array.shape[1:] != shape and shape[:1] == (1,) and array.shape[1:] == shape[1:]:
        array = array[:, None]
    if array.ndim != len(shape) + 1 or array.shape[1:] != shape:
        raise DataLayoutError(
            f"{where}: {spec.name!r} is {list(array.shape)}, but the graph takes {list(shape)} a "
            f"sample: give (samples, {', '.join(map(str, shape))})"
        )
    return typed(spec, array, where)


def one_row(spec: TensorSpec, value: Any, where: str) -> NDArray[Any]:
    """One sample of an input as the graph takes it; a first size of 1 may be left out.

    Raises:
        DataLayoutError: as `rows_of`.
    """
    array, shape = np.asarray(value), tuple(map(int, spec.shape))
    if array.shape != shape and shape[:1] == (1,) and array.shape == shape[1:]:
        array = array[None]
    if array.shape != shape:
        raise DataLayoutError(
            f"{where}: {spec.name!r} is {list(array.shape)}, but the graph takes {list(shape)}"
        )
    return typed(spec, array, where)


def typed(spec: TensorSpec, array: NDArray[Any], where: str) -> NDArray[Any]:
    """An array in an input's type, where that holds its numbers."""
    wanted = np.dtype(spec.dtype)
    if array.dtype.kind not in "fiub":
        raise DataLayoutError(f"{where}: {spec.name!r} holds {array.dtype}, not numbers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataLayoutError(f"{where}: {spec.name!r} has numbers that are infinite or undefined")
    with np.errstate(all="ignore"):
        cast = array.astype(wanted)
    # Rounding a float is expected; another number is a mistake.
    if wanted.kind != "f" and not np.array_equal(cast, array):
        raise DataLayoutError(
            f"{where}: {spec.name!r} is {array.dtype}, with numbers that the graph's {spec.dtype} "
            "does not hold"
        )
    if wanted.kind == "f" and not np.isfinite(cast).all():
        raise DataLayoutError(f"{where}: {spec.name!r} has numbers too large for {spec.dtype}")
    return cast


def check_names(names: set[str], inputs: list[str], where: str) -> None:
    """Make sure that there is an array for every input, and no other.

    Raises:
        DataLayoutError: when there is not.
    """
    if names != set(inputs):
        raise DataLayoutError(
            f"{where}: has arrays {', '.join(sorted(names)) or 'of no name'}, but the graph takes "
            f"{', '.join(sorted(inputs))}; give one for each, by these names"
        )


def check_size(spec_bytes: int, samples: int, where: str) -> None:
    """Make sure that samples fit in memory.

    Raises:
        DataLayoutError: when they do not.
    """
    if spec_bytes * samples > MOST_BYTES:
        raise DataLayoutError(
            f"{where}: {samples} samples of {spec_bytes / 1e6:.1f} MB are more than the "
            f"{MOST_BYTES >> 30} GiB that are kept; take fewer (data.calibration_images, "
            "data.evaluation_images)"
        )


def sample_bytes(inputs: list[TensorSpec]) -> int:
    """Bytes of one sample."""
    return sum(
        int(np.prod([int(size) for size in spec.shape], dtype=np.int64))
        * np.dtype(spec.dtype).itemsize
        for spec in inputs
    )
