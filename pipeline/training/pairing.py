"""Teacher and student of a recipe side by side: their taps, and whether the stages can be built."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from foundation.errors import RecipeError
from pipeline.data.facts import DataFacts
from pipeline.recipe.sections.networks import NetworkRecipe
from pipeline.recipe.sections.recipe import Recipe
from pipeline.training.students import prune_in_place
from smskd.earlier import earlier_methods
from smskd.objective import Objective
from smskd.pair import Pair, Taps, make_pair
from smskd.stage import Stage
from smskd.teaching.mixed import MixedTeacher


def taps_of(recipe: Recipe, name: str | None = None) -> Taps | None:
    """The taps that the recipe names, the student's and the teacher's; None when it names none.

    Args:
        recipe: the recipe.
        name: of one of several teachers; None is the teacher, or all of them, who have no taps.

    Raises:
        RecipeError: when it names those of one network only.
    """
    if recipe.teachers and name is None:
        return None
    section: NetworkRecipe = recipe.teacher
    where = "teacher.taps"
    if name is not None:
        section = next(member for member in recipe.teachers if member.name == name)
        where = f"taps of teacher {name}"
    student_taps, teacher_taps = recipe.student.taps, section.taps
    if student_taps is None and teacher_taps is None:
        return None
    if student_taps is None or teacher_taps is None:
        raise RecipeError(f"taps are pairs: name student.taps and {where}, or neither of them")
    return student_taps, teacher_taps


def teacher_of(teacher: nn.Module, stage: Stage) -> nn.Module:
    """Who teaches in a stage: the teacher, or of several the one that the stage names."""
    if stage.teacher is None:
        return teacher
    assert isinstance(teacher, MixedTeacher), "a recipe's stages name one of several"
    return teacher.member(stage.teacher)


def check_pairing(recipe: Recipe, facts: DataFacts, teacher: nn.Module, student: nn.Module) -> None:
    """Build every stage once on blank images, so that a mismatch is told of before the training.

    The student is pruned before the stages that ask for it, and is not to be trained any more.

    Raises:
        ModelMismatchError: when networks and methods do not go together.
        UnknownNameError: when a network has no such tap.
    """
    images, teacher_images = (
        torch.zeros(2, shape.channels, shape.height, shape.width)
        for shape in (facts.preprocessing, facts.teacher_preprocessing)
    )

    def pair_for(stage: Stage) -> Pair:
        return make_pair(
            student,
            teacher_of(teacher, stage),
            images,
            teacher_example=teacher_images,
            taps=taps_of(recipe, stage.teacher),
            samples=facts.counts["student_train"],
        )

    pairs: dict[str | None, Pair] = {}
    learned: list[Mapping[str, Tensor]] = []
    with torch.random.fork_rng():
        for number, stage in enumerate(recipe.stages, start=1):
            if number > 1 and prune_in_place(student, recipe, facts, number):
                pairs.clear()
            if stage.teacher not in pairs:
                pairs[stage.teacher] = pair_for(stage)
            # What methods learn has its shapes before it is learnt.
            earlier = earlier_methods(recipe.stages, number - 1, learned.__getitem__)
            objective = Objective(stage, pairs[stage.teacher], earlier.carried, earlier.held)
            learned.append(objective.learned())
