"""The comparisons that a study was made for: its own stages against few arms, named beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.recipe.file import RecipeFile
from pipeline.recipe.sections.study import BEST_SINGLE
from pipeline.study.arms import Arm, baseline_name, method_names, recipe_stages
from pipeline.study.folder import ArmResult
from pipeline.study.statistics import (
    compare_seed_by_seed,
    effect_of,
    holm,
    paired_differences,
    spread_of,
)


@dataclass(frozen=True)
class PlannedComparison:
    """Test top-1 of one arm less that of another, over the seeds that both have; shares, -1..1.

    Attributes:
        arm: the recipe's own stages.
        planned: what it was to be held against, as the recipe says: "best-single", or an arm.
        against: the arm that this was.
        difference: mean of the differences.
        low, high: its 95 % interval by Student's t; None with one seed.
        p: of the two-sided paired t-test; None with one seed, or when all differences are equal.
        p_holm: the same, corrected for the number of planned comparisons.
        effect: Cohen's d_z: the mean of the differences over their deviation; None as p.
        n: seeds.
    """

    arm: str
    planned: str
    against: str
    difference: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    effect: float | None
    n: int


def own_arm(file: RecipeFile, arms: Mapping[str, Arm]) -> str | None:
    """The arm whose stages are the recipe's own; None where there is one stage, or no such arm.

    Args:
        file: the recipe.
        arms: by the names of the table.
    """
    own = recipe_stages(file)
    if len(own) == 1:
        return None
    # A first stage has no reference, so its weighting weighs nothing.
    for name, arm in arms.items():
        if arm.stages == (replace(own[0], weighting=arm.stages[0].weighting), *own[1:]):
            return name
    return None


def proving_arms(file: RecipeFile, arms: Mapping[str, Arm]) -> set[str]:
    """The arms that a study is made for, with the tries at them: the recipe's own stages, the
    baseline, and what is planned; other arms explain.

    Args:
        file: the recipe.
        arms: those that were asked for, by name.
    """
    wanted = {own_arm(file, arms), baseline_name(file), *file.recipe.study.planned}
    if BEST_SINGLE in wanted:
        # Which of them is the best is known at the end; none may then lack seeds.
        wanted.update(method_names(file))
    return {name for name, arm in arms.items() if {name, arm.trial_of} & wanted}


def planned_comparisons(
    file: RecipeFile, arms: Mapping[str, Arm], by_arm: Mapping[str, Sequence[ArmResult]]
) -> list[PlannedComparison]:
    """The planned comparisons of the recipe's own stages; those without a result are left out.

    Args:
        file: the recipe.
        arms: by the names of the table.
        by_arm: the results of each.
    """
    own = own_arm(file, arms)
    if own is None or own not in by_arm:
        return []
    found = []
    for planned in file.recipe.study.planned:
        against = _best_single(file, by_arm) if planned == BEST_SINGLE else planned
        if against is None or against == own:
            continue
        comparison = _compared(own, planned, against, by_arm)
        if comparison is not None:
            found.append(comparison)
    corrected = holm([comparison.p for comparison in found])
    return [replace(comparison, p_holm=p) for comparison, p in zip(found, corrected, strict=True)]


def _best_single(file: RecipeFile, by_arm: Mapping[str, Sequence[ArmResult]]) -> str | None:
    """The method by itself that is best on the validation images, over the seeds of them all."""
    runs = {name: by_arm[name] for name in method_names(file) if name in by_arm}
    if not runs:
        return None
    shared = set.intersection(*({run.seed for run in each} for each in runs.values()))

    def worth(name: str) -> float:
        counted = [run for run in runs[name] if run.seed in shared] or runs[name]
        return spread_of([run.validation_top1 for run in counted]).mean

    return max(runs, key=worth)


def _compared(
    own: str, planned: str, against: str, by_arm: Mapping[str, Sequence[ArmResult]]
) -> PlannedComparison | None:
    values, others = (
        {run.seed: run.test_top1 for run in by_arm.get(name, [])} for name in (own, against)
    )
    comparison = compare_seed_by_seed(values, others)
    if comparison is None:
        return None
    effect = effect_of(paired_differences(values, others))
    return PlannedComparison(
        arm=own,
        planned=planned,
        against=against,
        difference=comparison.difference,
        low=effect.low,
        high=effect.high,
        p=comparison.p,
        p_holm=None,
        effect=effect.effect,
        n=comparison.n,
    )
