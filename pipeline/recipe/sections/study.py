"""The section of a study."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import field_validator

from foundation.limits import Within
from pipeline.recipe.sections.training import CurveName
from pipeline.recipe.sections.values import Few, Names, Section, Seed, Share, Weight

_SCHEDULER = re.compile(r"(tcp|tls|ws|wss)://(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):\d{1,5}|\S.*\.json")
_STORAGE = re.compile(r"sqlite:///\S+|postgresql://\S+")
BEST_SINGLE = "best-single"
"""Of the methods by themselves the one that is best on the validation images."""


class StudyRecipe(Section):
    """What `compress study` compares, and over how many seeds.

    Attributes:
        budget: total: all arms have the epochs of all stages together; per-stage: each stage has a
            full schedule of its own, and arms of one schedule are shown with the epochs of one
            stage (ARM-one-stage) and of all.
        seeds: how many seeds each arm is trained with: the recipe's and those that follow it.
        explaining_seeds: of arms that only explain, the first so many; these are all but the
            recipe's own stages, the baseline and what is planned (for best-single each method by
            itself). If unset as many as the others.
        arms: names of the arms; None takes all.
        orders: further arms: the stages in another order, by their methods' names.
        stage_counts: further arms: the first so many stages, on the whole budget where that is the
            total.
        planned: arms that the recipe's own stages are held against, planned before any result:
            differences, intervals, effect sizes, and p values that Holm's procedure corrects for
            their number. best-single is the method that by itself is best on the validation images.
        equal_compute: further arms: each arm of one schedule with so many epochs more as the
            stages' references cost (ARM-equal-compute).
        teacher_seed: one teacher, of this seed, for all seeds; if unset each has its own.
        teachers: folder of the teachers, for studies that ask for the same ones to share; if
            unset the study's own.
        results: a JSON lines file that each result is put into as it comes, small enough to be
            committed. What is in it already counts as done, on any machine; where that is
            everything, neither data nor teachers are needed.
        reference_weights: further arms: each weighting with each of these weights of the reference
            in all stages.
        baseline_schedules: learning-rate schedules that each arm of one schedule is trained with;
            the table has the one that is best on the validation images. If unset the first
            stage's, or cosine where that does not fall to the end.
        ce_weights: weight of the labels in arms of one schedule, by the arm's name, where it is not
            to be what its methods have beside them; 1 with all methods at once.
        own_terms: a further arm: the reference of each stage held by the methods of the one before.
        carry: further arms: all methods of earlier stages kept on at these fractions of their
            weights.
        compare_restarts: further arms: the stages on one schedule, the stages with restarts, and
            all methods at once with the restarts of the stages.
        sakd_methods: feature methods that the SAKD arm is put around; None takes those of the
            stages, or else "at".
        validate_every: epochs of a stage from one look at the validation images to the next, for
            the learning curves; the last is always looked at. No figure of the table depends on it.
        threads: of each arm's process; sums in another order give other last digits, so figures
            depend on it.
        teacher_threads: of each teacher's process; if unset as an arm's. A teacher that was begun
            keeps its own.
        jobs: arms at once; if unset as many as there are cores for. Figures do not depend on it.
        retries: how often an arm or a teacher whose process was killed is begun again, where it was
            stopped.
        scheduler: the address of a Dask scheduler on whose workers arms and teachers are trained:
            tcp://host:8786, tls://host:8786, or the file that the scheduler writes; if unset in
            processes here.
        scheduler_wait: seconds to wait for it, and for its first worker.
    """

    budget: Literal["total", "per-stage"] = "total"
    seeds: Few = 3
    explaining_seeds: Few | None = None
    arms: Names | None = None
    orders: list[list[str]] = []
    stage_counts: list[Few] = []
    planned: list[str] = [BEST_SINGLE, "simultaneous", "sakd"]
    equal_compute: bool = False
    reference_weights: list[Weight] = []
    baseline_schedules: list[CurveName] = []
    ce_weights: dict[str, Weight] = {}
    own_terms: bool = False
    carry: list[Share] = []
    compare_restarts: bool = False
    teacher_seed: Seed | None = None
    teachers: str | None = None
    results: str | None = None
    sakd_methods: Names | None = None
    validate_every: Few = 1
    threads: Few = 1
    teacher_threads: Few | None = None
    jobs: Few | None = None
    retries: Annotated[int, Within(0, 100)] = 2
    scheduler: str | None = None
    scheduler_wait: Annotated[float, Within(0, 1e6, above=True)] = 60.0

    @field_validator("scheduler")
    @classmethod
    def _is_an_address(cls, scheduler: str | None) -> str | None:
        if scheduler is not None and not _SCHEDULER.fullmatch(scheduler):
            raise ValueError(
                "must be the address of a Dask scheduler, such as tcp://host:8786 or "
                "tls://host:8786, or the file that it writes, such as scheduler.json"
            )
        return scheduler
