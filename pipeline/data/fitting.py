"""How a recipe's pictures become its networks' images: what it says, and what weights bring."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from foundation.registry import Registry
from pipeline.data import sides_of
from pipeline.data.framing import Fit
from pipeline.models import names_weights, preparation_of, usual_weights
from pipeline.models.preparation import KNOWN, Preparation, preparation_from
from pipeline.models.teachers import asked_teacher
from pipeline.recipe.sections.data import DataRecipe, PreprocessingRecipe
from pipeline.recipe.sections.networks import MemberRecipe, NetworkRecipe, TeacherRecipe
from pipeline.recipe.sections.recipe import Recipe

USUAL: Registry[str] = Registry("dataset's usual preparation", "pipeline.data.sets")
"""By a dataset's name: the preparation that everybody uses for it, by its name in `KNOWN`."""

_SOURCE = "data.preprocessing.source"
_WHOLE_PIXELS = 1.5 / 255
# Of a side: pixels are whole, so that 0.875 is one at some sizes only.
_SAME_SHARE = 0.02


@dataclass(frozen=True)
class Preparations:
    """How the images of both networks are prepared, as far as that is known before any is read.

    Attributes:
        data: the data section with all that is known of the student's filled in.
        student, teacher: what is known of each; the rest is measured on the training images, and
            a teacher of whom nothing is known sees what the student sees.
        remarks: what was taken from where, a line each.
        guessed: of which networks, "student" and "teacher", nothing was known that others have
            trained.
    """

    data: DataRecipe
    student: Preparation
    teacher: Preparation
    remarks: tuple[str, ...]
    guessed: frozenset[str] = frozenset()


def preparations(recipe: Recipe, *, is_adopted: bool = False) -> Preparations:
    """What a recipe and the weights that it names say of the preparation of images.

    What [data] says stays; then comes what [data.preprocessing] takes over from elsewhere, then
    what the weights bring, and for a student that begins with fresh weights what the teacher's do.

    Args:
        recipe: the recipe.
        is_adopted: whether the student is a network that others have trained, weights or not.

    Raises:
        UnknownNameError, MissingFileError, CorruptFileError: as `preparation_from`.
    """
    data, explicit = recipe.data, _explicit(recipe.data)
    named = _named(data.preprocessing.source, recipe.student.model, _SOURCE)
    teachers = _of_teachers(recipe) or named
    own = named or preparation_of(recipe.student.model, recipe.student.weights)
    is_fresh = recipe.student.weights is None
    brought = own or (_for_another(teachers) if is_fresh else None) or _usual(data) or Preparation()
    student = explicit.over(brought)
    # Its size is the student's unless one is given: students are trained on what their size shows.
    teacher = _explicit_of_teacher(data, explicit).over(teachers or student).over(student)
    guessed = {
        role
        for role, section, known in (
            ("student", recipe.student, student),
            ("teacher", recipe.teacher, teacher),
        )
        if known.fit is None and (_is_trained(section) or (is_adopted and role == "student"))
    }
    remarks = [
        *_taken(brought, student, teachers, teacher),
        *_taken_for_granted(recipe.teacher),
        *(_guess(getattr(recipe, role)) for role in sorted(guessed)),
        *_guesses_of_members(recipe),
        *_fits_of_members(recipe, teacher),
    ]
    filled_in = _filled_in(data, student)
    return Preparations(filled_in, student, teacher, tuple(remarks), frozenset(guessed))


def _of_teachers(recipe: Recipe) -> Preparation | None:
    """What is known of the teacher's images; of several the first's, at the largest size of all,
    from which each is given its own."""
    if not recipe.teachers:
        return _of_teacher(recipe.teacher, "teacher.preprocessing")
    known = list(member_preparations(recipe).values())
    sides = [each.size for each in known if each is not None and each.size is not None]
    if not sides:
        return known[0]
    high, wide = (max(pair) for pair in zip(*sides, strict=True))
    # Not `replace`: the middle that is cut out is the same share of a larger picture.
    return Preparation(size=(high, wide)).over(known[0] or Preparation())


def member_preparations(recipe: Recipe) -> dict[str, Preparation | None]:
    """What is known of the images of each of several teachers, by its name."""
    return {
        member.name: _of_teacher(member, f"teachers.{number}.preprocessing")
        for number, member in enumerate(recipe.teachers)
    }


def _of_teacher(teacher: TeacherRecipe | MemberRecipe, where: str) -> Preparation | None:
    named = _named(teacher.preprocessing, teacher.model, where)
    if named is not None:
        return named
    asked = asked_teacher(teacher.model)
    if asked is not None:
        return asked.kind.preparation(asked.argument)
    known = preparation_of(teacher.model, teacher.begins_with)
    if known is None and teacher.is_fine_tuned:
        # Of weights that a library publishes, as most are that are fetched by hand.
        return preparation_of(teacher.model, usual_weights(teacher.model))
    return known


def _for_another(known: Preparation | None) -> Preparation | None:
    """What a network brings for one that learns from it: not that it takes pixels as they are."""
    if known is None or known.std is None or max(known.std) > _WHOLE_PIXELS:
        return known
    return replace(known, mean=None, std=None)


def fit_at(sides: tuple[int, int], recipe: PreprocessingRecipe) -> Fit:
    """How pictures are fitted to a height and a width, as a recipe says."""
    red, green, blue = recipe.pad_colour or Fit.pad_colour
    return Fit(
        *sides,
        fit=recipe.fit or Fit.fit,
        resize_to=_before_the_cut(sides, recipe),
        resize=recipe.resize or Fit.resize,
        antialias=recipe.antialias is not False,
        pad_colour=(red, green, blue),
    )


def _before_the_cut(sides: tuple[int, int], recipe: PreprocessingRecipe) -> tuple[int, int] | None:
    if recipe.resize_to is not None:
        return sides_of(recipe.resize_to)
    if recipe.crop_pct is None:
        return None
    return math.floor(sides[0] / recipe.crop_pct), math.floor(sides[1] / recipe.crop_pct)


def _explicit(data: DataRecipe) -> Preparation:
    """What the recipe itself says."""
    fitting, size = data.preprocessing, data.image_size
    sides = None if size is None else sides_of(size)
    colour = fitting.pad_colour
    before_the_cut = fitting.resize_to
    return Preparation(
        size=sides,
        channels=data.channels,
        fit=fitting.fit,
        resize_to=None if before_the_cut is None else sides_of(before_the_cut),
        crop_pct=fitting.crop_pct,
        resize=fitting.resize,
        antialias=fitting.antialias,
        pad_colour=None if colour is None else (colour[0], colour[1], colour[2]),
        mean=None if data.mean is None else tuple(data.mean),
        std=None if data.std is None else tuple(data.std),
    )


def _explicit_of_teacher(data: DataRecipe, explicit: Preparation) -> Preparation:
    size = data.teacher_image_size
    return explicit if size is None else replace(explicit, size=(size, size))


def _named(source: str | None, model: str, where: str) -> Preparation | None:
    return None if source is None else preparation_from(source, model, where)


def _usual(data: DataRecipe) -> Preparation | None:
    name = USUAL.find(data.name.partition(":")[0])
    return None if name is None else KNOWN[name]


def as_recipe(known: Preparation, recipe: PreprocessingRecipe | None = None) -> PreprocessingRecipe:
    """A section of a recipe that says how pictures are fitted, as far as it is known."""
    values: dict[str, Any] = {
        "fit": known.fit,
        "resize_to": _listed(known.resize_to),
        "crop_pct": known.crop_pct,
        "resize": known.resize,
        "antialias": known.antialias,
        "pad_colour": _listed(known.pad_colour),
    }
    return (recipe or PreprocessingRecipe()).model_copy(update=values)


def _filled_in(data: DataRecipe, known: Preparation) -> DataRecipe:
    """A data section in which all that is known stands."""
    size = known.size
    values: dict[str, Any] = {
        "image_size": size[0] if size and size[0] == size[1] else _listed(size),
        "channels": known.channels,
        "mean": _listed(known.mean),
        "std": _listed(known.std),
        "preprocessing": as_recipe(known, data.preprocessing),
    }
    return data.model_copy(update=values)


def _listed(values: Sequence[Any] | None) -> list[Any] | None:
    return None if values is None else list(values)


def _taken(
    own: Preparation, student: Preparation, teachers: Preparation | None, teacher: Preparation
) -> Iterator[str]:
    """What was taken from where."""
    if own.source is not None:
        yield f"images are prepared as {own.source} has them: {student.in_words()}"
    if teachers is not None and teachers.source not in (None, own.source):
        yield f"the teacher's are prepared as {teachers.source} has them: {teacher.in_words()}"


def _taken_for_granted(teacher: TeacherRecipe) -> Iterator[str]:
    """That weights in a file are taken for some that the library of their model publishes."""
    weights = teacher.begins_with
    if teacher.preprocessing or not (teacher.training.is_fine_tuning and weights):
        return
    usual = None if preparation_of(teacher.model, weights) else usual_weights(teacher.model)
    if usual is not None:
        yield (
            f"{weights}: does not say how its images were prepared; taken is how {usual} has it, "
            "which is a guess; another is set with teacher.preprocessing (--teacher-preprocessing)"
        )


def _is_trained(section: NetworkRecipe) -> bool:
    """Whether a network begins with what others have trained, which no library publishes."""
    asked, weights = asked_teacher(section.model), section.begins_with
    return (asked is not None and not asked.kind.by_number) or (
        weights is not None and not names_weights(weights)
    )


def _guesses_of_members(recipe: Recipe) -> Iterator[str]:
    if not recipe.teachers:
        return
    for member, known in zip(recipe.teachers, member_preparations(recipe).values(), strict=True):
        if (known is None or known.fit is None) and recipe.data.preprocessing.fit is None:
            yield _guess(member)


def _fits_of_members(recipe: Recipe, shown: Preparation) -> Iterator[str]:
    """That one of several teachers is shown another part of a picture than it was trained on: all
    are shown one image, brought to the size of each."""
    if not recipe.teachers or recipe.data.preprocessing.fit is not None:
        return
    for name, known in member_preparations(recipe).items():
        if known is not None and known.fit is not None and _is_cut_otherwise(known, shown):
            yield (
                f"teacher {name}: was trained on pictures as {_in_words(known)}, but several "
                f"teachers are shown one image, which is {_in_words(shown)}; [data.preprocessing] "
                "says which"
            )


def _is_cut_otherwise(known: Preparation, shown: Preparation) -> bool:
    return known.fit != shown.fit or abs(_share(known) - _share(shown)) > _SAME_SHARE


def _share(known: Preparation) -> float:
    """How much of a picture's side is left of it once its middle is cut out."""
    if known.crop_pct is not None:
        return known.crop_pct
    if known.resize_to is None or known.size is None:
        return 1.0
    return known.size[0] / known.resize_to[0]


def _in_words(known: Preparation) -> str:
    share = _share(known)
    return f"{known.fit} to {share:.2f} of the side" if share < 1 else str(known.fit)


def _guess(section: NetworkRecipe) -> str:
    key = "teacher.preprocessing" if isinstance(section, TeacherRecipe) else _SOURCE
    if isinstance(section, MemberRecipe):
        key = f"preprocessing of teacher {section.name}"
    return (
        f"{section.begins_with or section.model}: does not say how its images were prepared; taken "
        "is the whole picture, squashed to the size, which is a guess; say how it was trained with "
        f"{key} (--preprocessing) or [data.preprocessing]"
    )
