"""Teacher and student of a recipe side by side: their taps, and whether the stages can be built."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from foundation.errors import RecipeError
from pipeline.data.facts import DataFacts
from pipeline.recipe.sections import Recipe
from pipeline.training.students import prune_in_place
from smskd.earlier import earlier_methods
from smskd.objective import Objective
from smskd.pair import Taps, make_pair


def taps_of(recipe: Recipe) -> Taps | None:
    """The taps that the recipe names, the student's and the teacher's; None when it names none.

    Raises:
        RecipeError: when it names those of one network only.
    """
    student_taps, teacher_taps = recipe.student.taps, recipe.teacher.taps
    if student_taps is None and teacher_taps is None:
        return None
    if student_taps is None or teacher_taps is None:
        raise RecipeError("taps are pairs: name student.taps and teacher.taps, or neither of them")
    return student_taps, teacher_taps


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
    make_current_pair = partial(
        make_pair,
        student,
        teacher,
        images,
        teacher_example=teacher_images,
        taps=taps_of(recipe),
        samples=facts.counts["student_train"],
    )
    pair = make_current_pair()
    learned: list[Mapping[str, Tensor]] = []
    with torch.random.fork_rng():
        for number, stage in enumerate(recipe.stages, start=1):
            if number > 1 and prune_in_place(student, recipe, facts, number):
                pair = make_current_pair()
            # What methods learn has its shapes before it is learnt.
            earlier = earlier_methods(recipe.stages, number - 1, learned.__getitem__)
            objective = Objective(stage, pair, earlier.carried, earlier.held)
            learned.append(objective.learned())
