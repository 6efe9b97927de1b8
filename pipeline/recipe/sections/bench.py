"""The section of the measuring."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import field_validator, model_validator
from pydantic.dataclasses import dataclass

from deploy_targets.device.options import (
    RuntimeOptions,
    SamplingOptions,
    sustained_seconds,
)
from deploy_targets.hosts.host_names import LOCAL, password_problem
from deploy_targets.intervals import FEWEST_ROUNDS
from foundation.limits import Passing, Within
from pipeline.recipe.sections.values import STRICT


@dataclass(config=STRICT, frozen=True, kw_only=True)
class HostRecipe:
    """Where bundles are measured.

    Attributes:
        host: where: local, or ssh://user@host:port (docs/devices.md).
    """

    host: str = LOCAL

    @field_validator("host")
    @classmethod
    def _has_no_password(cls, url: str) -> str:
        problem = password_problem(url)
        if problem:
            raise ValueError(problem)
        return url


@dataclass(config=STRICT, frozen=True, kw_only=True)
class BenchRecipe(SamplingOptions, RuntimeOptions, HostRecipe):
    """How bundles are measured: where, how a runtime runs them, how a measurement is taken.

    Attributes:
        accuracy: also answer the test images.
        against: also time the run's bundle in turns with this one, a folder or a packed file; or
            show its ratio to a stored measurement, which is not interleaved.
        rounds: rounds of turns, in fresh processes each.
        per_layer: also show where the time goes, operator by operator, as the runtime's own
            profile tells it; the latencies are those of processes that nobody profiles.
        sustain: also keep each bundle at work for so long, such as 90s, 30m or 1h, and tell whether
            it holds its speed.
    """

    accuracy: bool = True
    against: str | None = None
    rounds: Annotated[int, Within(FEWEST_ROUNDS, 10_000)] = 16
    per_layer: bool = False
    sustain: Annotated[str | None, Passing(sustained_seconds)] = None

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        for problem in self.problems():
            raise ValueError(problem)
        return self
