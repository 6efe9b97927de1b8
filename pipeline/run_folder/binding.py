"""What a folder's content depends on, and whether a recipe asks for just that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.recipe.file import recipe_values
from pipeline.recipe.sections.values import MIXED

if TYPE_CHECKING:
    from pipeline.recipe.sections.recipe import Recipe

Values = dict[str, Any]
Binding = Callable[["Recipe"], Values]
"""The part of a recipe, section by section, that a folder's content depends on."""

# What weights depend on; what comes later may change and is redone.
_TRAINED_BY = (
    "seed", "data", "teacher", "teachers", "teacher_mix", "student", "stages", "engine",
)  # fmt: skip

# What of the data only the student sees, or the steps after the training.
_NOT_FOR_A_TEACHER = (
    "student_fraction",
    "unlabelled_from",
    "unlabelled_share",
    "calibration_images",
    "evaluation_images",
    "teacher_views",
    "teacher_views_gb",
)


def training_values(recipe: Recipe) -> Values:
    """What a run folder is bound to, and a study's: all that its weights depend on."""
    values = recipe_values(recipe.spelled_out())
    bound = {section: values[section] for section in _TRAINED_BY if section in values}
    if recipe.metric is not None and any(stage.keep == "best" for stage in recipe.stages):
        bound["metric"] = recipe.metric
    return {
        **bound,
        "data": _wherever_it_is_kept(values["data"]),
        "engine": engine_values(recipe),
        "teacher": _teacher_section(recipe),
        "student": student_values(values["student"]),
    }


def student_values(section: Mapping[str, Any]) -> Values:
    """The student's section; who is trained beside it changes nothing of it."""
    return {k: v for k, v in _without_expectation(section).items() if k != "train_alone"}


def teacher_values(recipe: Recipe) -> Values:
    """What a folder is bound to that holds a teacher alone, whoever it teaches, and what.

    Of the data section only that is left of which the teacher sees something: of the image sizes
    its own, and the larger one, at which images are decoded.
    """
    data = _wherever_it_is_kept(recipe_values(recipe.data))
    seen = {key: value for key, value in data.items() if key not in _NOT_FOR_A_TEACHER}
    size, teacher_size = recipe.data.image_size, recipe.data.teacher_image_size
    least = teacher_size or 0
    sizes = {
        "image_size": max(size, least)
        if isinstance(size, int)
        else size and [max(side, least) for side in size],
        "teacher_image_size": teacher_size or size,
    }
    teacher = {key: value for key, value in _teacher_section(recipe).items() if key != "taps"}
    by_metric = recipe.metric is not None and recipe.teacher.training.keep == "best"
    return {
        **({"metric": recipe.metric} if by_metric else {}),
        "seed": recipe.seed,
        "data": {**seen, **sizes},
        "teacher": teacher,
        "engine": engine_values(recipe),
    }


def engine_values(recipe: Recipe) -> Values:
    """The engine's section; where the course of a training is logged changes nothing of it."""
    values = recipe_values(recipe.engine)
    return {key: value for key, value in values.items() if key not in {"log", "log_to"}}


def _teacher_section(recipe: Recipe) -> Values:
    """The teacher's section; with weights from elsewhere, nothing in it says how to train."""
    # First, so that a difference is told by them rather than by what they make needless.
    values = {"weights": None, **_without_expectation(recipe_values(recipe.teacher))}
    if recipe.teacher.weights or _is_asked(recipe.teacher.model):
        del values["training"]
    return values


def _is_asked(teacher: str) -> bool:
    """Whether a teacher learns nothing, here or elsewhere."""
    if teacher == MIXED:
        return True
    if ":" not in teacher and "." not in teacher:
        return False
    from pipeline.models.teachers import asked_teacher  # noqa: PLC0415 - torch

    return asked_teacher(teacher) is not None


def _wherever_it_is_kept(data: Values) -> Values:
    """The data section; that pictures are kept decoded may make them smaller, but not where."""
    return {key: bool(value) if key == "cache" else value for key, value in data.items()}


def _without_expectation(section: Mapping[str, Any]) -> dict[str, Any]:
    """A network's section: what is expected of weights changes none."""
    return {key: value for key, value in section.items() if key != "expect_top1"}


def first_difference(bound: Values, here: Values) -> str | None:
    """The first place at which two bindings differ, with both values; None where they are equal."""
    return next(_differences(bound, here, ""), None)


def _differences(bound: Any, here: Any, place: str) -> Iterator[str]:
    if isinstance(bound, Mapping) and isinstance(here, Mapping):
        for key in {**bound, **here}:
            inner = f"{place}.{key}" if place else key
            yield from _differences(bound.get(key), here.get(key), inner)
    elif isinstance(bound, list) and isinstance(here, list) and len(bound) == len(here):
        for number, both in enumerate(zip(bound, here, strict=True)):
            yield from _differences(*both, f"{place}[{number}]")
    elif bound != here:
        yield f"{place} is {_shown(bound)} there, {_shown(here)} here"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "unset" if value is None else repr(value)
