"""The section of a search."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from deploy_targets.hosts.host_names import password_problem
from foundation.limits import Within
from pipeline.recipe.sections.study import _STORAGE
from pipeline.recipe.sections.training import StageRecipe
from pipeline.recipe.sections.values import Few, Section, Seed

Objective = Literal["accuracy", "metric", "latency_p50", "latency_p95", "size", "memory", "energy"]


class SearchRecipe(Section):
    """What `compress search` varies, and what it looks for.

    Attributes:
        trials: how many in all, those of every process that takes part together.
        objectives: what is held against each other: accuracy, of the validation images; metric,
            what the recipe's metric says of them; latency_p50 and latency_p95, measured; size of
            the model's files; peak memory; energy of an image.
        space: by a key of the recipe, as --set takes it, the values that it may have: a list, or a
            range { low, high, step, log }. "unset" in a list leaves the key out.
        stages: by a name, stages in their order; each trial takes one of these instead of the
            recipe's own.
        limits: what no trial is worth its training for that breaks it, such as
            "latency_p95<=20ms" or "size<=0.5MB", as --pick takes them.
        seed: of the search itself; a trial has the recipe's.
        jobs: trials at once in this process.
        threads: of each trial's process.
        retries: how often a trial is begun again whose process was killed.
        storage: where the search is kept, for all processes that take part: sqlite:///FILE or
            postgresql://USER@HOST/DATABASE; if unset search.db in the search's folder.
        lost_after: seconds without a sign of life after which a trial of another process is begun
            again.
    """

    trials: Annotated[int, Within(1, 100_000)] = 30
    objectives: Annotated[list[Objective], Field(min_length=1)] = ["accuracy", "latency_p50"]
    space: dict[str, Any] = {}
    stages: dict[str, Annotated[list[StageRecipe], Field(min_length=1, max_length=100)]] = {}
    limits: list[str] = []
    seed: Seed = 0
    jobs: Few = 1
    threads: Few = 1
    retries: Annotated[int, Within(0, 100)] = 1
    storage: str | None = None
    lost_after: Annotated[int, Within(2, 86_400)] = 60

    @field_validator("objectives")
    @classmethod
    def _names_each_once(cls, objectives: list[Objective]) -> list[Objective]:
        if len(set(objectives)) < len(objectives):
            raise ValueError("must name each once")
        return objectives

    @field_validator("storage")
    @classmethod
    def _is_a_database(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if password_problem(url):
            raise ValueError(
                "a password has no place in a recipe or a command; put it into ~/.pgpass or "
                "PGPASSWORD"
            )
        if not _STORAGE.fullmatch(url):
            raise ValueError("must be sqlite:///FILE or postgresql://USER@HOST/DATABASE")
        return url
