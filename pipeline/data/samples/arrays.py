"""arrays:PATH: an .npz file with an array for every input of a graph, or a folder of such files.

The first axis of each is that of the samples. Where there are more than are wanted they are taken
evenly from all: files and rows often are in an order, as of the classes or of a day.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.npyio import NpzFile
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

        files = self._files()
        counts = [_count_in(path, inputs) for path in files]
        wanted = min(most, sum(counts))
        if not wanted:
            raise DataLayoutError(f"{self._argument}: holds no sample")
        check_size(sample_bytes(list(inputs)), wanted, self._argument)
        places = np.arange(wanted) * sum(counts) // wanted
        parts: dict[str, list[NDArray[Any]]] = {spec.name: [] for spec in inputs}
        ids: list[str] = []
        first = 0
        for path, count in zip(files, counts, strict=True):
            rows = places[(first <= places) & (places < first + count)] - first
            first += count
            if not len(rows):
                continue
            for name, values in _rows_in(path, inputs, rows).items():
                parts[name].append(values)
            ids += [f"{path.name}:{row}" for row in rows]
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


def _count_in(path: Path, inputs: Sequence[TensorSpec]) -> int:
    """How many samples a file holds, by the heads of its arrays."""
    with _opened(path) as file:
        check_names(set(file.files), [spec.name for spec in inputs], str(path))
        shapes = {name: _shape_of(file, name) for name in file.files}
    counts = {name: shape[0] if shape else 0 for name, shape in shapes.items()}
    if len(set(counts.values())) != 1 or not min(counts.values()):
        told = ", ".join(f"{name!r} {count}" for name, count in counts.items())
        raise DataLayoutError(
            f"{path}: its arrays are of different or no samples ({told}); the first axis of each "
            "is that of the samples"
        )
    return next(iter(counts.values()))


def _rows_in(
    path: Path, inputs: Sequence[TensorSpec], rows: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Some of a file's samples, by input."""
    with _opened(path) as file:
        arrays = {spec.name: np.asarray(file[spec.name])[rows] for spec in inputs}
    return {spec.name: rows_of(spec, arrays[spec.name], str(path)) for spec in inputs}


def _shape_of(file: NpzFile, name: str) -> tuple[int, ...]:
    """The shape of an array, of which no more is read than says it."""
    assert file.zip is not None, "it is open"
    with file.zip.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        return np.shape(file[name]) if read is None else read(member)[0]


@contextmanager
def _opened(path: Path) -> Iterator[NpzFile]:
    """A file of arrays; what is wrong with it is told in one way."""
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except DataLayoutError:
        raise
    # numpy and zipfile raise a dozen kinds between them for a file that is spoilt.
    except Exception as error:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
        raise CorruptFileError(
            f"{path}: not an {_SUFFIX} file of arrays ({reason}); make it with numpy.savez"
        ) from error
