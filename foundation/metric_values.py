"""What a metric beside top-1 says of a network, as it is kept and held against another's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foundation.resampling import score_of
from foundation.scores import Score


@dataclass(frozen=True)
class MetricValues:
    """What a metric says of a network on some images.

    Attributes:
        metric: its name in the recipe.
        identity: what its code is known by.
        n: images.
        labels_sha256: of what they show.
        values: by name, the one that choices go by first.
        drawn: the same of each drawn set of images; NaN as None, where there is no figure of one.
            The same images are drawn for any network, so differences are image by image.
    """

    metric: str
    identity: str
    n: int
    labels_sha256: str
    values: dict[str, float]
    drawn: dict[str, list[float | None]]

    @property
    def first(self) -> str:
        """The name of the value that choices go by."""
        return next(iter(self.values))

    def score(self, name: str) -> Score:
        """A value with its 95 % percentile interval."""
        return score_of(self.values[name], _array(self.drawn[name]))

    def drop_from(self, before: MetricValues, name: str) -> Score:
        """How far a value lies below another network's on the same images."""
        change = before.values[name] - self.values[name]
        return score_of(change, _array(before.drawn[name]) - _array(self.drawn[name]))

    def is_like(self, other: MetricValues) -> bool:
        """Whether the two can be held against each other, image by image."""
        return (self.identity, self.labels_sha256) == (other.identity, other.labels_sha256)


def _array(values: list[float | None]) -> NDArray[np.float64]:
    return np.array([math.nan if value is None else value for value in values], np.float64)
