"""A function of the user's that says what a graph is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from foundation.errors import ModelMismatchError
from foundation.graph_bundle import Outputs
from pipeline.recipe.code import failure_in, function_named

if TYPE_CHECKING:
    from export.samples import Scorer

SCORE = "score"
"""What a scorer's figure is called that gives but one."""


def scorer_named(name: str) -> Scorer:
    """The scorer that a recipe names, "package.module:function", its answers made sure of.

    Raises:
        ModelMismatchError: when there is none; so does it when it fails, or gives no number.
    """
    function = function_named(name, "scorer")

    def score(outputs: Outputs, ids: list[str]) -> dict[str, float]:
        try:
            given: Any = function(outputs, ids)
        except (Exception, SystemExit) as error:  # a user's function may fail in any way
            raise ModelMismatchError(f"scorer {name} failed: {failure_in(error)}") from error
        return _scores(given, name)

    return score


def _scores(given: Any, name: str) -> dict[str, float]:
    table = given if isinstance(given, Mapping) else {SCORE: given}
    try:
        scores = {str(key): float(value) for key, value in table.items()}
    except (TypeError, ValueError) as error:
        raise ModelMismatchError(
            f"scorer {name} gave {given!r:.80}; it must give a number, or several by name"
        ) from error
    if not scores or not all(map(math.isfinite, scores.values())):
        raise ModelMismatchError(f"scorer {name} gave {given!r:.80}; each score must be a number")
    return scores
