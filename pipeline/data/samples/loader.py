"""loader:package.module:function: a Python function that gives samples one after another.

It is called without arguments and yields a table of arrays by input for each sample, as the graph
takes it, or its id and that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foundation.bundle import TensorSpec
from foundation.errors import CompressError, DataLayoutError, UsageError
from pipeline.data.samples import SAMPLES
from pipeline.data.samples._rows import check_names, check_size, one_row, sample_bytes
from pipeline.recipe.code import code_identity, failure_in, function_named

if TYPE_CHECKING:
    from export.samples import GraphSamples

_WHAT = "loader"


@SAMPLES.register(_WHAT)
class FunctionSamples:
    """A function of the user's.

    Args:
        argument: "package.module:function".
    """

    def __init__(self, argument: str) -> None:
        self._name = argument

    def check(self, where: str) -> None:
        if ":" not in self._name:
            raise UsageError(
                f"{where}: {self._name!r} names no function; write loader:package.module:function"
            )
        function_named(self._name, _WHAT, where)

    def identity(self) -> list[str | None]:
        return [self._name, code_identity(self._name)]

    def read(self, inputs: Sequence[TensorSpec], most: int) -> GraphSamples:
        from export.samples import GraphSamples  # noqa: PLC0415 - only where they are read

        parts: dict[str, list[NDArray[Any]]] = {spec.name: [] for spec in inputs}
        ids: list[str] = []
        size = sample_bytes(list(inputs))
        for number, (name, arrays) in enumerate(islice(self._yielded(), most)):
            where = f"{_WHAT} {self._name}, sample {name}"
            check_names(set(arrays), [spec.name for spec in inputs], where)
            check_size(size, number + 1, where)
            for spec in inputs:
                parts[spec.name].append(one_row(spec, arrays[spec.name], where))
            ids.append(name)
        if not ids:
            raise DataLayoutError(f"{_WHAT} {self._name}: gave no sample")
        return GraphSamples({name: np.stack(rows) for name, rows in parts.items()}, ids)

    def _yielded(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """An id and the arrays of each sample; by default the id is its number."""
        function = function_named(self._name, _WHAT)
        try:
            for number, given in enumerate(function()):
                name, arrays = given if isinstance(given, tuple) else (number, given)
                if not isinstance(arrays, Mapping):
                    raise TypeError(f"sample {number} is {type(arrays).__name__}, not a dict")
                yield str(name), arrays
        except CompressError:
            raise
        except (Exception, SystemExit) as error:  # a user's function may fail in any way
            raise DataLayoutError(
                f"{_WHAT} {self._name} failed: {failure_in(error)}; it must yield a dict of arrays "
                "by input for each sample"
            ) from error
