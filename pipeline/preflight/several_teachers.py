"""Can several teachers teach what a recipe asks of them? Asked before any work begins."""

from __future__ import annotations

from foundation.errors import RecipeError
from pipeline.models.teachers import asked_teacher
from pipeline.recipe.file import RecipeFile
from smskd.earlier import carried_specs, held_specs
from smskd.methods import METHODS, Need

_INSIDE: frozenset[Need] = frozenset({"features", "embedding", "classifier"})


def check_several(file: RecipeFile) -> None:
    """Make sure that each of several teachers is finished, and that what stages ask of all of them
    together is what they answer, and nothing within them.

    Raises:
        RecipeError: when it is not; with its place.
    """
    recipe = file.recipe
    if not recipe.teachers:
        return
    for number, member in enumerate(recipe.teachers):
        if asked_teacher(member.model) is None and member.weights is None:
            raise RecipeError(
                f"{file.where('teachers', number, 'model')}: {member.model} would have to be "
                "trained first, and several teachers are finished ones; give its weights, such as "
                "runs/NAME/teacher/weights.safetensors"
            )
    for number, stage in enumerate(recipe.stages):
        if stage.teacher is not None:
            continue
        earlier = (*held_specs(recipe.stages, number), *carried_specs(recipe.stages, number))
        for name in (spec.name for spec in (*stage.methods, *earlier)):
            if not _INSIDE.isdisjoint(METHODS.get(name).needs):
                raise RecipeError(
                    f"{file.where('stages', number)}: method {name!r} looks inside the teacher, "
                    "and several together have nothing in common there; name one of them for the "
                    f'stage, such as teacher = "{recipe.teachers[0].name}", or choose another '
                    "method, such as 'kd'"
                )
