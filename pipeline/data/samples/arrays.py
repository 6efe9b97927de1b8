"""arrays:PATH: an .npz file with an array for every input of a graph, or a folder of such files.

The first axis of each is that of the samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foundation.bundle import TensorSpec
from foundation.errors import CorruptFileError, DataLayoutError, MissingFileError, UsageError
from foundation.files import sha256_of, user_path
from pipeline.data.samples import SAMPLES
from pipeline.data.samples._rows import check_names, check_size, rows_of, sample_bytes

if TYPE_CHECKING:
    from export.samples import GraphSamples

_SUFFIX = ".npz"


@SAMPLES.register("arrays")
class ArrayFiles:
    """Files of arrays, in the order of their names.

    Args:
        argument: a file, or a folder of them.
    """

    def __init__(self, argument: str) -> None:
        self._argument = argument

    def check(self, where: str) -> None:
        if not self._argument:
            raise UsageError(f"{where}: samples need a path: arrays:PATH")
        self._files()

    def identity(self) -> list[str]:
        return [sha256_of(path) for path in self._files()]

    def read(self, inputs: Sequence[TensorSpec], most: int) -> GraphSamples:
        from export.samples import GraphSamples  # noqa: PLC0415 - only where they are read

        parts: dict[str, list[NDArray[Any]]] = {spec.name: [] for spec in inputs}
        ids: list[str] = []
        for path in self._files():
            left = most - len(ids)
            if left <= 0:
                break
            rows = _rows_in(path, inputs, left, before=len(ids))
            for name, values in rows.items():
                parts[name].append(values)
            ids += [f"{path.name}:{row}" for row in range(len(next(iter(rows.values()))))]
        if not ids:
            raise DataLayoutError(f"{self._argument}: holds no sample")
        return GraphSamples({name: np.concatenate(values) for name, values in parts.items()}, ids)

    def _files(self) -> list[Path]:
        path = user_path(self._argument)
        if path.is_dir():
            files = sorted(path.glob(f"*{_SUFFIX}"))
            if not files:
                raise MissingFileError(f"{path}: holds no {_SUFFIX} file of samples")
            return files
        if not path.is_file():
            raise MissingFileError(
                f"{path}: no such file; name an {_SUFFIX} file of samples, or a folder of them"
            )
        return [path]


def _rows_in(
    path: Path, inputs: Sequence[TensorSpec], most: int, *, before: int
) -> dict[str, NDArray[Any]]:
    """At most so many samples of one file, by input; `before` are kept of other files already."""
    try:
        with np.load(path, allow_pickle=False) as file:
            check_names(set(file.files), [spec.name for spec in inputs], str(path))
            arrays = {spec.name: np.asarray(file[spec.name]) for spec in inputs}
    except DataLayoutError:
        raise
    # numpy and zipfile raise a dozen kinds between them for a file that is spoilt.
    except Exception as error:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
        raise CorruptFileError(
            f"{path}: not an {_SUFFIX} file of arrays ({reason}); make it with numpy.savez"
        ) from error
    counts = {name: array.shape[0] if array.ndim else 0 for name, array in arrays.items()}
    if len(set(counts.values())) != 1 or not min(counts.values()):
        told = ", ".join(f"{name!r} {count}" for name, count in counts.items())
        raise DataLayoutError(
            f"{path}: its arrays are of different or no samples ({told}); the first axis of each "
            "is that of the samples"
        )
    count = min(most, *counts.values())
    check_size(sample_bytes(list(inputs)), before + count, str(path))
    return {spec.name: rows_of(spec, arrays[spec.name][:count], str(path)) for spec in inputs}
