"""The bundle of a graph that is no classifier: its probe holds arrays by the names of its inputs
and outputs.

    inputs/NAME            an array for every sample of the probe: (samples, *shape of the input)
    outputs/NAME/SAMPLE    what the original gave for one sample: its size may hang on the sample
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from foundation.bundle import PROBE, AnyBundle, read_arrays
from foundation.errors import CorruptFileError
from foundation.manifest import GraphManifest, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

Feed: TypeAlias = "dict[str, NDArray[Any]]"
"""One array for every input of a graph, by name: a query."""

Outputs: TypeAlias = "dict[str, list[NDArray[Any]]]"
"""For every output of a graph, by name, an array for each of several samples."""


@dataclass(frozen=True)
class GraphBundle(AnyBundle):
    """A graph's bundle, whose checksums have been found right."""

    manifest: GraphManifest

    def probe(self) -> tuple[list[Feed], Outputs]:
        """The probe's samples, at least one, and what the original gave for each.

        Raises:
            CorruptFileError: when it cannot be read without running code, or does not fit.
        """
        path = self.folder / PROBE
        try:
            return _probe_in(read_arrays(path), self.manifest)
        # numpy and zipfile raise a dozen kinds between them for a file that is spoilt.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise CorruptFileError(
                f"{path}: not a usable probe ({reason}); export the bundle again"
            ) from error


def probe_arrays(feeds: Sequence[Feed], outputs: Outputs) -> dict[str, NDArray[Any]]:
    """What a probe file holds, by name.

    Args:
        feeds: the samples, at least one.
        outputs: what the original gave for each.
    """
    import numpy as np  # noqa: PLC0415

    inputs = {f"inputs/{name}": np.stack([feed[name] for feed in feeds]) for name in feeds[0]}
    answers = {
        f"outputs/{name}/{sample}": value
        for name, values in outputs.items()
        for sample, value in enumerate(values)
    }
    return {**inputs, **answers}


def _probe_in(
    arrays: Mapping[str, NDArray[Any]], manifest: GraphManifest
) -> tuple[list[Feed], Outputs]:
    inputs = {spec.name: arrays[f"inputs/{spec.name}"] for spec in manifest.inputs}
    counts = {len(values) for values in inputs.values()}
    if len(counts) != 1 or counts == {0}:
        raise ValueError(f"its inputs are of {sorted(counts)} samples")
    (count,) = counts
    outputs = {
        spec.name: [arrays[f"outputs/{spec.name}/{sample}"] for sample in range(count)]
        for spec in manifest.outputs
    }
    for spec in manifest.inputs:
        _check(spec, inputs[spec.name][0])
    for spec in manifest.outputs:
        for value in outputs[spec.name]:
            _check(spec, value)
    # A row of numbers is an array too: one number is what a graph may take.
    feeds = [
        {name: values[sample, ...] for name, values in inputs.items()} for sample in range(count)
    ]
    return feeds, outputs


def _check(spec: TensorSpec, value: NDArray[Any]) -> None:
    pairs = zip(value.shape, spec.shape, strict=False)
    fits = value.ndim == len(spec.shape) and all(
        isinstance(size, str) or size == actual for actual, size in pairs
    )
    if not fits or value.dtype != spec.dtype:
        raise ValueError(
            f"{spec.name!r} is {value.dtype} {list(value.shape)}, not {spec.dtype} {spec.shape}"
        )
