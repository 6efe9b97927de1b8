"""Samples of what a graph takes that is no classifier: an array for every input, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from foundation.graph_bundle import Feed, Outputs

GraphPredictor: TypeAlias = Callable[[Feed], list[NDArray[Any]]]
"""From one sample to the graph's outputs, in the order in which they were asked for."""

Scorer: TypeAlias = Callable[[Outputs, list[str]], dict[str, float]]
"""From a graph's outputs and the samples' ids to scores by name, of which the first judges; higher
is better."""


@dataclass(frozen=True, eq=False)
class GraphSamples:
    """Inputs of a graph.

    Attributes:
        arrays: by input, (samples, *shape of the input), in the input's own type.
        ids: what each sample is called.
    """

    arrays: Mapping[str, NDArray[Any]]
    ids: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def feed(self, sample: int) -> Feed:
        """One sample as the graph takes it."""
        return {name: rows[sample, ...] for name, rows in self.arrays.items()}

    def feeds(self) -> Iterator[Feed]:
        """All samples, one after another."""
        return map(self.feed, range(len(self)))

    def part(self, places: Sequence[int]) -> GraphSamples:
        """Some of the samples, by their places."""
        rows = np.asarray(places, np.int64)
        arrays = {name: values[rows] for name, values in self.arrays.items()}
        return GraphSamples(arrays, [self.ids[place] for place in places])


def outputs_of(predict: GraphPredictor, names: Sequence[str], samples: GraphSamples) -> Outputs:
    """What a graph gives for each sample, by output."""
    answers = [predict(feed) for feed in samples.feeds()]
    return {name: [answer[at] for answer in answers] for at, name in enumerate(names)}
