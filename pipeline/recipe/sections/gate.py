"""The section of the gate: the budget that a release must keep."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.recipe.sections.values import Names, Section

# Each look can be wrong: docs/ci.md adds up what a verdict promises over all of them.
MOST_RETRIES = 3

Against = Literal["baseline", "teacher", "student"]

_ON_INCONCLUSIVE = re.compile(r"report|pass|fail|retry [1-9]\d*")


class Limit(Section):
    """One limit of a budget: at least one of the first three.

    Attributes:
        max, min: in the metric's unit.
        max_regression: how much worse than a reference, in percent of it; an accuracy in
            percentage points. Below zero: so much better.
        against: the reference: "baseline" (the older release that the gate is given), "teacher",
            or "student" (the same run's FP32 student in the same format).
    """

    max: float | None = None
    min: float | None = None
    max_regression: float | None = None
    against: Against | None = None

    @property
    def reference(self) -> Against:
        """What `max_regression` is counted from."""
        return self.against or "baseline"

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.max is None and self.min is None and self.max_regression is None:
            raise ValueError("a limit needs max, min or max_regression")
        if self.against is not None and self.max_regression is None:
            raise ValueError(
                f'against = "{self.against}" says what max_regression is counted from, but there '
                "is none"
            )
        return self


_TABLES_OF_LIMITS = {"recall", "precision", "f1", "metric"}


class GateRecipe(Section):
    """The budget that a release must keep.

    Attributes:
        bundles: judge only this bundle; if unset every student bundle.
        limits: by metric; `compress gate --help` lists the metrics. Those of a class, or of a
            metric of one's own, may be tables in tables: recall.crack = { min = 95 }.
        baseline: the older release: a measurement, a run folder or a bundle.
        on_inconclusive: what to make of a figure that neither keeps nor breaks its limit: report
            it (exit code 3), count it as pass or fail, or retry N: measure again, and longer, up
            to N times.
        allow_estimate: judge estimates too, of no device.
        history_file: a JSON lines file that each verdict is added to; if unset history.jsonl beside
            the run folder, and of files of measurements alone none. "none" keeps none.
        release: what is judged, for the history: a version, a date.
    """

    bundles: Names | None = None
    limits: dict[str, Limit] = {}
    baseline: str | None = None
    on_inconclusive: str = "report"
    allow_estimate: bool = False
    history_file: Annotated[str, Field(min_length=1)] | None = None
    release: Annotated[str, Field(min_length=1, max_length=100)] | None = None

    @field_validator("limits", mode="before")
    @classmethod
    def _flat(cls, limits: object) -> object:
        """A dot in a key of TOML makes a table of it: "recall.crack" is found under recall."""
        if not isinstance(limits, dict):
            return limits
        flat: dict[object, object] = {}
        for key, value in limits.items():
            if key in _TABLES_OF_LIMITS and isinstance(value, dict):
                flat |= {f"{key}.{name}": limit for name, limit in value.items()}
            else:
                flat[key] = value
        return flat

    @field_validator("on_inconclusive")
    @classmethod
    def _known(cls, word: str) -> str:
        if not _ON_INCONCLUSIVE.fullmatch(word):
            raise ValueError('must be "report", "pass", "fail" or "retry N"')
        if word.startswith("retry") and int(word.split()[1]) > MOST_RETRIES:
            raise ValueError(
                f"may retry {MOST_RETRIES} times at most: each look at a limit can be wrong, and "
                "more of them could not keep what a verdict promises"
            )
        return word

    @property
    def retries(self) -> int:
        """How often to measure again."""
        word, _, times = self.on_inconclusive.partition(" ")
        return int(times) if word == "retry" else 0
