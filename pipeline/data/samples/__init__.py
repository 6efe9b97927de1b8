"""Samples of what a graph takes that is no classifier. A kind of source is a file here.

A recipe names one where others name a dataset: "arrays:samples.npz", "loader:mine.data:samples".
That name is what makes a graph of a user's ONNX file, and not a classifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from foundation.bundle import TensorSpec
from foundation.registry import Registry

if TYPE_CHECKING:
    from export.samples import GraphSamples


class SampleSource(Protocol):
    """Where samples come from; made of what stands behind the colon of its name."""

    def __init__(self, argument: str) -> None: ...

    def check(self, where: str) -> None:
        """Make sure that it is there, before any work is begun.

        Raises:
            MissingFileError, ModelMismatchError, UsageError: when it is not.
        """
        ...

    def identity(self) -> Any:
        """What tells it from another, as plain JSON values."""
        ...

    def read(self, inputs: Sequence[TensorSpec], most: int) -> GraphSamples:
        """Its samples, at least one and at most so many, as a graph takes them.

        Raises:
            MissingFileError, CorruptFileError: when a file cannot be read.
            DataLayoutError: when they are none of these inputs, or too many for memory.
        """
        ...


SAMPLES: Registry[type[SampleSource]] = Registry("kind of samples", "pipeline.data.samples")


def names_samples(name: str) -> bool:
    """Whether a recipe's data are samples of a graph, and no pictures."""
    kind, colon, _ = name.partition(":")
    return bool(colon) and SAMPLES.find(kind) is not None


def sample_source(name: str) -> SampleSource:
    """The source that a recipe's data name; they must be samples."""
    kind, _, argument = name.partition(":")
    return SAMPLES.get(kind)(argument)
