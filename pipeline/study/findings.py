"""What a study found: every figure of its table, its plots and study.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline.data.facts import DataFacts
from pipeline.recipe.file import RecipeFile
from pipeline.recipe.sections.recipe import Recipe
from pipeline.study.arms import ALONE, Arm, baseline_name
from pipeline.study.crew import Failure
from pipeline.study.folder import ArmResult
from pipeline.study.planned import PlannedComparison, planned_comparisons
from pipeline.study.record import StudyRecord
from pipeline.study.statistics import (
    PairedComparison,
    Spread,
    compare_seed_by_seed,
    mean_retention,
    spread_of,
)
from pipeline.study.subject import Subject, TaughtBy


@dataclass(frozen=True)
class ArmFindings:
    """One arm over the seeds. Accuracies are shares, 0..1.

    Attributes:
        validation, test: top-1 of the student that the arm ends with.
        against_baseline, against_alone: test top-1 against those arms, seed by seed; None when
            they have no seed in common, or are this one.
        seconds_per_epoch: mean over the seeds of each one's median.
        relative_time: of the baseline's; None without it.
        seconds: mean over the seeds of all epochs together, a reference's and a live teacher's
            asking with them.
        relative_compute: of the baseline's; None without it.
        after_stage: mean validation top-1 after each stage.
        retention: mean over the seeds; None for an arm of one stage.
        runs: each seed's result.
        tried: mean validation top-1 of each try at the arm, by name, of which it is the best; empty
            where there was one way alone.
    """

    arm: Arm
    validation: Spread
    test: Spread
    against_baseline: PairedComparison | None
    against_alone: PairedComparison | None
    seconds_per_epoch: float
    relative_time: float | None
    seconds: float
    relative_compute: float | None
    after_stage: list[float]
    retention: dict[str, Any] | None
    runs: list[ArmResult]
    tried: dict[str, float]


@dataclass(frozen=True)
class Findings:
    """All facts of a study.

    Attributes:
        recipe: what was asked.
        data: what was learned from.
        baseline: the arm that others are held against.
        budget: epochs of all stages together.
        teachers: top-1 of each seed's teacher, by part: {"validation": …, "test": …}.
        networks: model and parameters of "teacher" and "student".
        arms: in the order of the table; those without any result are left out.
        planned: the comparisons that were planned, of the recipe's own stages.
        failures: one line each.
    """

    recipe: Recipe
    data: DataFacts
    baseline: str
    budget: int
    teachers: dict[int, dict[str, float]]
    networks: dict[str, dict[str, Any]]
    arms: list[ArmFindings]
    planned: list[PlannedComparison]
    failures: list[str]

    @property
    def has_one_budget(self) -> bool:
        """Whether all arms have as many epochs."""
        return {result.arm.epochs for result in self.arms} == {self.budget}

    @property
    def has_all_seeds(self) -> bool:
        """Whether all arms have a result of each seed."""
        return {len(result.runs) for result in self.arms} == {len(self.seeds)}

    @property
    def taught(self) -> str:
        """Which seeds have one teacher, in words."""
        if self.recipe.study.teacher_seed is None:
            return "each seed has its own teacher"
        if len(self.teachers) == 1:
            return "all seeds have one teacher"
        return "all arms of a seed have one teacher, which some machines trained anew"

    @property
    def seeds(self) -> list[int]:
        """Seeds for which an arm has a result."""
        return sorted({run.seed for result in self.arms for run in result.runs})

    def record(self) -> StudyRecord:
        """What is kept and printed of it."""
        return StudyRecord(
            name=self.recipe.name,
            budget_epochs=self.budget,
            baseline=self.baseline,
            seeds=self.seeds,
            threads=self.recipe.study.threads,
            data=self.data,
            networks=self.networks,
            teachers={str(seed): top1 for seed, top1 in self.teachers.items()},
            arms={findings.arm.name: _arm_values(findings) for findings in self.arms},
            planned=[asdict(comparison) for comparison in self.planned],
            failed=self.failures,
        )


def gather(
    file: RecipeFile,
    subject: Subject,
    arms: Mapping[str, Arm],
    results: Sequence[ArmResult],
    teachers: Mapping[int, TaughtBy],
    *,
    failures: Sequence[Failure] = (),
) -> Findings:
    """Put the results of a study together.

    Args:
        file: the recipe.
        subject: what the study is about.
        arms: those that were asked for.
        results: at least one.
        teachers: who taught the results of each seed.
        failures: what was not done.
    """
    by_arm = {name: [result for result in results if result.arm == name] for name in arms}
    by_arm = {name: runs for name, runs in by_arm.items() if runs}
    chosen = best_trials(arms, by_arm)
    by_arm = {name: by_arm[best] for name, (best, _) in chosen.items()}
    table = {name: _as_chosen(arms[best], tried) for name, (best, tried) in chosen.items()}
    baseline, recipe = baseline_name(file), file.recipe
    return Findings(
        recipe=recipe,
        data=subject.data,
        baseline=baseline,
        budget=sum(stage.epochs for stage in recipe.stages),
        teachers=_worth(recipe, teachers),
        networks=subject.networks.as_dict(),
        arms=[
            _arm_findings(table[name], tried, table, by_arm, baseline)
            for name, (_, tried) in chosen.items()
        ],
        planned=planned_comparisons(file, table, by_arm),
        failures=[f"{failure.task.name}: {failure.message}" for failure in failures],
    )


def _worth(recipe: Recipe, teachers: Mapping[int, TaughtBy]) -> dict[int, dict[str, float]]:
    """What each seed's teacher is worth; one that taught all seeds goes by its own."""
    shared = recipe.study.teacher_seed
    one = len({teacher.sha256 for teacher in teachers.values()}) == 1
    if shared is not None and one:
        return {shared: next(iter(teachers.values())).by_part()}
    return {seed: teacher.by_part() for seed, teacher in sorted(teachers.items())}


def best_trials(
    arms: Mapping[str, Arm], by_arm: Mapping[str, Sequence[ArmResult]]
) -> dict[str, tuple[str, dict[str, float]]]:
    """For each arm the try that is best on the validation images, and what each try had there.

    An arm that stands for itself is its own only try. Of several those count that have as many
    seeds as any of them.

    Args:
        arms: those that were asked for.
        by_arm: the results of each.
    """
    tries: dict[str, list[str]] = {}
    for name in by_arm:
        tries.setdefault(arms[name].trial_of or name, []).append(name)
    chosen = {}
    for name, names in tries.items():
        most = max(len(by_arm[tried]) for tried in names)
        means = {
            tried: spread_of([run.validation_top1 for run in by_arm[tried]]).mean
            for tried in names
            if len(by_arm[tried]) == most
        }
        best = max(means, key=lambda tried: means[tried])
        chosen[name] = best, means if arms[best].trial_of else {}
    return chosen


def _as_chosen(arm: Arm, tried: Mapping[str, float]) -> Arm:
    """A try as the arm that it was chosen to be."""
    if arm.trial_of is None:
        return arm
    words = f"{arm.words}: best of {len(tried)} on the validation images"
    return replace(arm, name=arm.trial_of, words=words, trial_of=None)


def _arm_findings(
    arm: Arm,
    tried: dict[str, float],
    arms: Mapping[str, Arm],
    by_arm: Mapping[str, Sequence[ArmResult]],
    baseline: str,
) -> ArmFindings:
    runs, reference = list(by_arm[arm.name]), arms.get(baseline)
    seconds, baseline_runs = _seconds(runs), by_arm.get(baseline)
    total = _total_seconds(arm, runs)
    stages = zip(*(run.after_stage for run in runs), strict=True)
    matrices = [run.retention for run in runs if run.retention]
    return ArmFindings(
        arm=arm,
        validation=spread_of([run.validation_top1 for run in runs]),
        test=spread_of([run.test_top1 for run in runs]),
        against_baseline=_against(arm.name, baseline, by_arm),
        against_alone=_against(arm.name, ALONE, by_arm),
        seconds_per_epoch=seconds,
        relative_time=seconds / _seconds(baseline_runs) if baseline_runs else None,
        seconds=total,
        relative_compute=total / _total_seconds(reference, baseline_runs)
        if baseline_runs and reference
        else None,
        after_stage=[spread_of(values).mean for values in stages],
        retention=mean_retention(matrices) if matrices else None,
        runs=runs,
        tried=tried,
    )


def _against(
    name: str, reference: str, by_arm: Mapping[str, Sequence[ArmResult]]
) -> PairedComparison | None:
    if name == reference:
        return None
    tests = [{run.seed: run.test_top1 for run in by_arm.get(arm, [])} for arm in (name, reference)]
    return compare_seed_by_seed(*tests)


def _seconds(runs: Sequence[ArmResult]) -> float:
    return spread_of([run.seconds_per_epoch for run in runs]).mean


def _total_seconds(arm: Arm, runs: Sequence[ArmResult]) -> float:
    # An earlier version told of an epoch alone.
    return spread_of([run.seconds or arm.epochs * run.seconds_per_epoch for run in runs]).mean


def _arm_values(findings: ArmFindings) -> dict[str, Any]:
    values = asdict(findings)
    del values["arm"]
    stages = [stage.as_dict() for stage in findings.arm.stages]
    arm = {"words": findings.arm.words, "epochs": findings.arm.epochs, "stages": stages}
    return {**arm, **values}
