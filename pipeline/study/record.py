"""The record of a study: study.json. No torch is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.data.facts import DataFacts


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """What `compress study --json` prints, and study.json keeps.

    Attributes:
        budget_epochs: of all stages together, and of each arm where they have one budget.
        baseline: the arm that others are held against.
        seeds: for which an arm has a result.
        threads: of each training.
        networks: model and parameters of "teacher" and "student".
        teachers: top-1 of each seed's teacher, by part: {"validation": …, "test": …}.
        arms: by name: accuracies over the seeds, comparisons, times, retention, each seed's run.
        planned: the comparisons of the recipe's own stages that were planned, each with its arm,
            what it is against, difference with its 95 % interval, p, Holm's p_holm, effect (Cohen's
            d_z) and n, the seeds.
        failed: one line each.
        study: the study's folder; only where it is printed.
        report: files that were written; only where it is printed.
    """

    schema_version: int = 1
    kind: str = "study"
    name: str
    budget_epochs: int
    baseline: str
    seeds: list[int]
    threads: int
    data: DataFacts
    networks: dict[str, dict[str, Any]]
    teachers: dict[str, dict[str, float]]
    arms: dict[str, dict[str, Any]]
    planned: list[dict[str, Any]]
    failed: list[str]
    study: str | None = None
    report: list[str] = field(default_factory=list)
