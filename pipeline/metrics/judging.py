"""A run's metric: called, checked, and told how sure its figures are."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundation.errors import CompressError, ModelMismatchError
from foundation.metric_values import MetricValues
from foundation.resampling import drawn_images
from foundation.user_code import first_line, place_of
from pipeline.metrics import METRICS, MetricFunction, metric_identity
from pipeline.recipe.code import import_own

REPLICATES = 400
"""Sets of images that are drawn for an interval: each is a call of somebody's function."""
_MOST_WITHOUT = 0.1

Logits = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class NamedMetric:
    """A metric by its name in the recipe.

    Attributes:
        name: of `METRICS`, or "package.module:function".
        function: it.
    """

    name: str
    function: MetricFunction

    @property
    def identity(self) -> str:
        """What tells its code from what was there before: for what depends on it."""
        return metric_identity(self.name)

    def __call__(self, logits: Logits, labels: Labels) -> dict[str, float]:
        """Its figures by name, the one that choices go by first; a single one by the metric's name.

        Args:
            logits: float32 (N, classes).
            labels: int64 (N,).

        Raises:
            ModelMismatchError: when the function fails, or gives no numbers.
        """
        return self._figures(logits, labels, np.arange(len(labels)))

    def judge(self, logits: Logits, labels: Labels) -> MetricValues:
        """Its figures, and how far they could lie from what was found; errors as a call."""
        values = self(logits, labels)
        drawn: dict[str, list[float | None]] = {name: [] for name in values}
        failure: CompressError | None = None
        for images in drawn_images(len(labels), REPLICATES):
            # Of images without a rare class there may be no figure.
            try:
                row: Mapping[str, float | None] = self._figures(
                    logits[images], labels[images], images
                )
            except CompressError as error:
                failure, row = error, {}
            for name, column in drawn.items():
                column.append(row.get(name))
        for name, column in drawn.items():
            missing = column.count(None)
            if missing > _MOST_WITHOUT * REPLICATES:
                why = f": {failure}" if failure else ""
                raise ModelMismatchError(
                    f"metric {self.name}: has no {name} for {missing} of {REPLICATES} sets of "
                    f"{len(labels)} images drawn for its interval{why}"
                )
        digest = hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()
        return MetricValues(self.name, self.identity, len(labels), digest, values, drawn)

    def _figures(self, logits: Logits, labels: Labels, ids: Labels) -> dict[str, float]:
        try:
            answer = self.function(logits, labels, ids)
            given = dict(answer) if isinstance(answer, Mapping) else {self._own_name: answer}
        except CompressError:
            raise
        except (Exception, SystemExit) as error:  # a user's function may fail in any way
            raise ModelMismatchError(
                f"metric {self.name} failed on {len(labels)} images: "
                f"{first_line(error)}{place_of(error)}"
            ) from error
        return {str(name): self._number(str(name), value) for name, value in given.items()} or (
            self._refused("gave no value; return a number, or numbers by name")
        )

    @property
    def _own_name(self) -> str:
        return self.name.rpartition(":")[2]

    def _number(self, name: str, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError, RuntimeError):
            self._refused(f"gave {type(value).__name__} as {name}; return a number")
        if not math.isfinite(number):
            self._refused(f"gave {number} as {name}; return a finite number")
        return number

    def _refused(self, words: str) -> Any:
        raise ModelMismatchError(f"metric {self.name} {words}")


def load_metric(name: str, where: str = "") -> NamedMetric:
    """The metric that a recipe names.

    Args:
        name: of `METRICS`, or "package.module:function", which is imported.
        where: its place in the recipe, for messages.

    Raises:
        UnknownNameError: when there is none of that name.
        ModelMismatchError: when the module cannot be imported, or has no such function.
    """
    if ":" not in name:
        return NamedMetric(name, METRICS.get(name, where))
    at = f"{where}: " if where else ""
    module, _, attribute = name.partition(":")
    try:
        function = getattr(import_own(module), attribute)
    except (Exception, SystemExit) as error:  # a user's module may fail in any way
        raise ModelMismatchError(
            f"{at}metric {name!r}: {first_line(error)}{place_of(error)}; write it as "
            "package.module:function, importable from the current folder or the environment"
        ) from error
    if not callable(function):
        raise ModelMismatchError(f"{at}metric {name!r}: {attribute} cannot be called")
    return NamedMetric(name, function)
