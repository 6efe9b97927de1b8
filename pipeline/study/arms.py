"""The arms of a study: a recipe's stages, and what they are compared with.

All arms have the epochs of all the recipe's stages together; where each stage is a full schedule
(`study.budget = "per-stage"`), those of one schedule are there with the epochs of one stage too.
Student, first weights, data and its
order are the same too. An arm of one schedule trains as the first stage says (optimizer, learning
rate, ...), but never at a rate that does not fall; a method's weight, its settings and the weight
of the labels beside it are those of the stage that it comes from, or, where that leaves them out,
those of the method by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from foundation.errors import ModelMismatchError, RecipeError, UnknownNameError, unknown_name
from pipeline.recipe.file import RecipeFile
from pipeline.recipe.sections.study import BEST_SINGLE
from pipeline.training.one_schedule import alone_stage, annealed, library_stage, one_schedule
from smskd.curve import CURVE_KEYS, SHARED, curves_of, leader_of, own_curve
from smskd.earlier import check_held
from smskd.objective import make_method, spelled_out
from smskd.stage import PREVIOUS, MethodSpec, Stage, check_sequence
from smskd.weightings import WEIGHTINGS

ALONE, AT_ONCE, SAKD = "alone", "simultaneous", "sakd"
# Not every recipe has all of them: of one method there is no simultaneous arm.
_PLANNED_UNLESS_SAID = {BEST_SINGLE, AT_ONCE, SAKD}
UNANCHORED = "none"
_PASSES_OF_A_STEP = 3
_ON_A_SHARED_ONE: dict[str, Any] = dict.fromkeys(CURVE_KEYS) | {"schedule": SHARED}


@dataclass(frozen=True)
class Arm:
    """One way to spend a budget of epochs.

    Attributes:
        name: as the recipe and the command line call it.
        words: what it is, for a reader.
        stages: what is done.
        trial_of: the arm that it is one try at; the best of them on the validation images is that
            arm. None for an arm that stands for itself.
    """

    name: str
    words: str
    stages: tuple[Stage, ...]
    trial_of: str | None = None

    @property
    def epochs(self) -> int:
        """What it spends."""
        return sum(stage.epochs for stage in self.stages)


def chosen_arms(file: RecipeFile) -> dict[str, Arm]:
    """The arms that the recipe's [study] asks for, by name, in the order of a table.

    Raises:
        UnknownNameError: when there is no such arm, method or stage.
        RecipeError: when an order or a number of stages is impossible.
    """
    arms, requested = all_arms(file), file.recipe.study.arms
    known = {*arms, *(arm.trial_of for arm in arms.values() if arm.trial_of)}
    for place, name in enumerate(file.recipe.study.planned):
        if name not in {*known, *_PLANNED_UNLESS_SAID}:
            raise unknown_name("arm", name, known, file.where("study", "planned", place))
    for place, name in enumerate(requested or []):
        if name not in known:
            raise unknown_name("arm", name, known, file.where("study", "arms", place))
    return {
        name: arm
        for name, arm in arms.items()
        if requested is None or name in requested or arm.trial_of in requested
    }


def all_arms(file: RecipeFile) -> dict[str, Arm]:
    """Every arm that the recipe's stages give, by name.

    Raises:
        UnknownNameError: when a method or stage in [study] is none.
        RecipeError: when an order or a number of stages is impossible.
    """
    _check_unpruned(file)
    if file.recipe.learns_integers:
        where = file.where("stages", len(file.recipe.stages) - 1, "quantize")
        raise RecipeError(
            f"{where}: the arms of a study compare students in float; leave the stage out"
        )
    stages = [library_stage(stage) for stage in file.recipe.stages]
    arms = [_alone(stages), *_single_methods(stages)]
    if len(_methods(stages)) > 1:
        arms.append(_simultaneous(stages))
    if SAKD not in _methods(stages):
        arms.append(_sakd(stages, file))
    arms = _with_ce_weights(arms, file)
    if file.recipe.study.equal_compute:
        epochs = equal_compute_epochs(stages, file.recipe.data.teacher_views)
        arms = [one for arm in arms for one in (arm, *_with_compute(arm, epochs))]
    if file.recipe.study.budget == "per-stage":
        _check_full_schedules(stages, file)
        budget = sum(stage.epochs for stage in stages)
        arms = [
            budgeted
            for arm in arms
            for budgeted in (arm, *([_for_one_stage(arm, stages)] if arm.epochs == budget else []))
        ]
    arms = [trial for arm in arms for trial in _trials(arm, file)]
    if len(stages) > 1:
        arms += [_weighted(stages, weighting) for weighting in _weightings()]
        arms += _held_with_weights(stages, file.recipe.study.reference_weights)
        arms += _with_earlier_methods(stages, file)
    if len(stages) > 1 and file.recipe.study.compare_restarts:
        arms += _other_schedules(stages, arms)
    arms += [_ordered(stages, file, place) for place in range(len(file.recipe.study.orders))]
    arms += [_counted(stages, file, place) for place in range(len(file.recipe.study.stage_counts))]
    for arm in arms:
        _check_arm(arm, file)
    return {arm.name: _with_defaults(arm) for arm in arms}


def recipe_stages(file: RecipeFile) -> tuple[Stage, ...]:
    """The recipe's own stages, as an arm has them."""
    return tuple(spelled_out(library_stage(stage)) for stage in file.recipe.stages)


def method_names(file: RecipeFile) -> list[str]:
    """The methods of the recipe's stages, each of which is an arm by itself."""
    return list(_methods(file.recipe.stages))


def baseline_name(file: RecipeFile) -> str:
    """The arm that others are held against: plain KD, or else the first stage's method."""
    methods = _methods(file.recipe.stages)
    return "kd" if "kd" in methods else next(iter(methods))


def equal_compute_epochs(stages: Sequence[Stage], views: int | None) -> int:
    """Epochs of one schedule that cost as much as the stages with their references.

    Counted in passes of the student, of which a step of training is three: forward, and backward
    through activations and weights. Asking a reference is one, for every epoch, or where views are
    fixed, for the first of each view. A live teacher is left out, by which an arm of one schedule
    gets rather more than less; so are the losses.

    Args:
        stages: in order.
        views: fixed views of each image; None where each is new.
    """
    asked = sum(min(stage.epochs, views or stage.epochs) for stage in stages[1:] if stage.anchored)
    return sum(stage.epochs for stage in stages) + math.ceil(asked / _PASSES_OF_A_STEP)


def distribute(budget: int, shares: Sequence[int]) -> list[int]:
    """A number of epochs divided among stages in proportion, none left over."""
    total = sum(shares)
    ends = [budget * sum(shares[:count]) // total for count in range(len(shares) + 1)]
    return [end - start for start, end in pairwise(ends)]


def _check_unpruned(file: RecipeFile) -> None:
    for number, stage in enumerate(file.recipe.stages):
        if stage.prune is not None:
            raise RecipeError(
                f"{file.where('stages', number, 'prune')}: the arms of a study compare one "
                "student; leave it out, or prune before the first stage, with student.prune"
            )


def _methods(stages: Sequence[Stage]) -> dict[str, tuple[MethodSpec, Stage]]:
    """Each method with the stage that it first comes in, by name."""
    methods: dict[str, tuple[MethodSpec, Stage]] = {}
    for stage in stages:
        for method in stage.method_specs:
            methods.setdefault(method.name, (method, stage))
    return methods


def _with_defaults(arm: Arm) -> Arm:
    return replace(arm, stages=tuple(map(spelled_out, arm.stages)))


def _check_full_schedules(stages: Sequence[Stage], file: RecipeFile) -> None:
    for number, stage in enumerate(stages):
        if stage.shares_schedule and len(stages) > 1:
            raise RecipeError(
                f'{file.where("stages", number, "schedule")}: with study.budget = "per-stage" each '
                "stage has a full schedule, but this one shares another's; name one of its own, or "
                'take "total"'
            )


def _with_ce_weights(arms: Sequence[Arm], file: RecipeFile) -> list[Arm]:
    """Arms of one schedule, each with the weight of the labels that the recipe gives it."""
    weights, names = file.recipe.study.ce_weights, [arm.name for arm in arms]
    for name in weights:
        if name not in names:
            where = file.where("study", "ce_weights", name)
            raise unknown_name("arm of one schedule", name, names, where)
    return [
        replace(arm, stages=(replace(arm.stages[0], ce_weight=weights[arm.name]),))
        if arm.name in weights
        else arm
        for arm in arms
    ]


def _with_compute(arm: Arm, epochs: int) -> list[Arm]:
    """An arm of one schedule with the epochs that make its compute that of the stages; none where
    it has them already."""
    if arm.epochs == epochs:
        return []
    (stage,) = arm.stages
    words = f"{arm.words}, for the compute of the stages with their references"
    return [Arm(f"{arm.name}-equal-compute", words, (annealed(replace(stage, epochs=epochs)),))]


def _for_one_stage(arm: Arm, stages: Sequence[Stage]) -> Arm:
    """An arm of one schedule with the epochs of the longest stage in place of those of all."""
    (stage,) = arm.stages
    epochs = max(stage.epochs for stage in stages)
    sequence = (annealed(replace(stage, epochs=epochs)),)
    return Arm(f"{arm.name}-one-stage", f"{arm.words}, for one stage's epochs", sequence)


def _trials(arm: Arm, file: RecipeFile) -> list[Arm]:
    """An arm of one schedule with each schedule that is to be tried; itself where none is."""
    names = file.recipe.study.baseline_schedules
    trials = []
    for place, name in enumerate(names):
        stage = replace(arm.stages[0], schedule=name)
        if not curves_of([stage])[0].anneals:
            raise RecipeError(
                f"{file.where('study', 'baseline_schedules', place)}: {name} does not fall within "
                f"the {stage.epochs} epochs of arm {arm.name!r}, which would lose by that alone; "
                "leave it out, or set other stages.0.step_epochs or hold_epochs"
            )
        words = f"{arm.words}, schedule {name}"
        trial_of = arm.name if len(names) > 1 else None
        trial_name = f"{arm.name}-{name}" if trial_of else arm.name
        trials.append(Arm(trial_name, words, (stage,), trial_of))
    return trials or [arm]


def _check_arm(arm: Arm, file: RecipeFile) -> None:
    try:
        check_sequence(arm.stages)
        check_held(arm.stages)
    except (ValueError, ModelMismatchError) as error:
        raise RecipeError(f"{file.where('study')}: arm {arm.name!r}: {error}") from error


def _alone(stages: Sequence[Stage]) -> Arm:
    return Arm(ALONE, "student alone, on the labels", (alone_stage(stages),))


def _single_methods(stages: Sequence[Stage]) -> list[Arm]:
    return [
        Arm(name, f"{name} by itself", (one_schedule(stages, [method], stage.ce_weight),))
        for name, (method, stage) in _methods(stages).items()
    ]


def _simultaneous(stages: Sequence[Stage]) -> Arm:
    methods = _methods(stages)
    specs = [method for method, _ in methods.values()]
    return Arm(AT_ONCE, f"{', '.join(methods)} at once", (one_schedule(stages, specs, 1.0),))


def _sakd(stages: Sequence[Stage], file: RecipeFile) -> Arm:
    requested = file.recipe.study.sakd_methods
    for place, name in enumerate(requested or []):
        try:
            _sakd_spec([name])
        except UnknownNameError as error:
            where = file.where("study", "sakd_methods", place)
            raise UnknownNameError(f"{where}: {error}") from error
    names = requested or [name for name in _methods(stages) if _is_feature_method(name)] or ["at"]
    words = f"SAKD: kd and {', '.join(names)}, where a learnt policy says so"
    return Arm(SAKD, words, (one_schedule(stages, [_sakd_spec(names)], None),))


def _sakd_spec(names: Sequence[str]) -> MethodSpec:
    spec = MethodSpec(SAKD, settings={"methods": tuple(names)})
    make_method(spec)  # raises when one is no feature method
    return spec


def _is_feature_method(name: str) -> bool:
    try:
        _sakd_spec([name])
    except UnknownNameError:
        return False
    return True


def _weightings() -> list[str]:
    """All ways to weigh the reference; without one first."""
    return [UNANCHORED, *(name for name in WEIGHTINGS.names() if name != UNANCHORED)]


def _weighted(stages: Sequence[Stage], weighting: str) -> Arm:
    how = "no reference" if weighting == UNANCHORED else f"weight of the reference: {weighting}"
    sequence = tuple(replace(stage, weighting=weighting) for stage in stages)
    name = f"{_family(stages)}-{weighting}"
    return Arm(name, f"SMSKD {_path(sequence)}, {how}", sequence)


def _family(stages: Sequence[Stage]) -> str:
    """What the name of an arm of several stages begins with: plain SMSKD trains one method a stage,
    and what keeps earlier methods on has a name of its own."""
    return "smskd-carry" if any(stage.carry for stage in stages) else "smskd"


def _held_with_weights(stages: Sequence[Stage], weights: Sequence[float]) -> list[Arm]:
    """Each weighting of the reference with each of the weights of the reference."""
    arms = []
    for weighting in _weightings()[1:]:
        arm = _weighted(stages, weighting)
        for weight in weights:
            sequence = tuple(replace(stage, reference_weight=weight) for stage in arm.stages)
            arms.append(Arm(f"{arm.name}-{weight:g}", f"{arm.words}, times {weight:g}", sequence))
    return arms


def _with_earlier_methods(stages: Sequence[Stage], file: RecipeFile) -> list[Arm]:
    """The reference held by the methods of the stage before, and earlier methods kept on."""
    settings, first, arms = file.recipe.study, stages[0], []
    if settings.own_terms:
        sequence = tuple(replace(stage, reference_methods=PREVIOUS) for stage in stages)
        words = f"SMSKD {_path(sequence)}, the reference held by the methods of the stage before"
        arms.append(Arm(f"{_family(stages)}-own-terms", words, sequence))
    for share in settings.carry:
        sequence = (first, *(replace(stage, carry=share) for stage in stages[1:]))
        words = f"{_path(sequence)}: stages that keep all methods before them, times {share:g}"
        arms.append(Arm(f"smskd-carry-{share:g}", words, sequence))
    return arms


def _other_schedules(stages: Sequence[Stage], others: Sequence[Arm]) -> list[Arm]:
    """The stages on one schedule and with restarts, and all methods at once with restarts.

    One of the first two is left out where another arm is the same.
    """
    first = annealed(replace(stages[0], epochs=sum(stage.epochs for stage in stages)))
    shared = [replace(stages[0], schedule=first.schedule)]
    shared += [replace(stage, **_ON_A_SHARED_ONE) for stage in stages[1:]]
    restarted = _restarted(stages)
    specs = tuple(method for method, _ in _methods(stages).values())
    at_once = tuple(
        replace(stage, methods=specs, ce_weight=1.0, weighting=UNANCHORED, carry=0.0)
        for stage in restarted
    )
    arms = [
        Arm(
            f"{_family(stages)}-one-schedule",
            f"SMSKD {_path(shared)}, on one schedule",
            tuple(shared),
        ),
        Arm(
            f"{_family(stages)}-restarts",
            f"SMSKD {_path(restarted)}, each on its own schedule",
            restarted,
        ),
    ]
    done = [arm.stages for arm in others]
    arms = [arm for arm in arms if arm.stages not in done]
    if len(specs) > 1:
        names = ", ".join(spec.name for spec in specs)
        words = f"{names} at once, with the restarts of {len(stages)} stages"
        arms.append(Arm(f"{AT_ONCE}-restarts", words, at_once))
    return arms


def _restarted(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The stages, each on a schedule of its own, of the kind that it shared, and that falls."""
    leaders = [leader_of(stages, place) for place in range(len(stages))]
    return tuple(
        annealed(replace(stage, **own_curve(stages[leader])))
        if leaders.count(leader) > 1
        else stage
        for stage, leader in zip(stages, leaders, strict=True)
    )


def _as_placed(stages: Sequence[Stage], sequence: Sequence[Stage]) -> tuple[Stage, ...]:
    """Stages in another order, each with what belongs to its new place: earlier methods to keep,
    and, where some share a schedule, its schedule."""
    pairs = zip(sequence, stages, strict=True)
    sequence = [replace(stage, carry=place.carry) for stage, place in pairs]
    if not any(stage.shares_schedule for stage in stages):
        return tuple(sequence)
    return tuple(
        replace(stage, **{key: getattr(place, key) for key in CURVE_KEYS})
        for stage, place in zip(sequence, stages, strict=True)
    )


def _ordered(stages: Sequence[Stage], file: RecipeFile, place: int) -> Arm:
    order = file.recipe.study.orders[place]
    where = file.where("study", "orders", place)
    left: dict[str, list[Stage]] = {}
    for stage in (replace(stage, carry=0.0) for stage in stages):
        left.setdefault(stage.name, []).append(stage)
    _check_order(order, left, where)
    sequence = _as_placed(stages, [left[name].pop(0) for name in order])
    return Arm(f"order-{'-'.join(order)}", f"SMSKD {_path(sequence)}", sequence)


def _check_order(order: Sequence[str], stages: Mapping[str, Sequence[Stage]], where: str) -> None:
    for name in order:
        if name not in stages:
            raise unknown_name("stage", name, stages, where)
    names = [name for name, stages_of_name in stages.items() for _ in stages_of_name]
    if sorted(order) != sorted(names):
        raise RecipeError(f"{where}: an order names every stage once: {names}, but got {order}")


def _counted(stages: Sequence[Stage], file: RecipeFile, place: int) -> Arm:
    count = file.recipe.study.stage_counts[place]
    if count > len(stages):
        where = file.where("study", "stage_counts", place)
        raise RecipeError(f"{where}: the recipe has {len(stages)} stages, but got {count}")
    epochs, words = [stage.epochs for stage in stages[:count]], "each on its full schedule"
    if file.recipe.study.budget == "total":
        epochs = distribute(sum(stage.epochs for stage in stages), epochs)
        words = "on the whole budget"
    sequence = tuple(
        replace(stage, epochs=share) for stage, share in zip(stages, epochs, strict=False)
    )
    name = f"{_family(stages)}-{count}-stage{'s' if count > 1 else ''}"
    return Arm(name, f"SMSKD {_path(sequence)}, {words}", sequence)


def _path(stages: Sequence[Stage]) -> str:
    return " → ".join(stage.name for stage in stages)
