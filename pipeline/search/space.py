"""What a search varies: each key of `[search.space]`, and the stages that it may take.

Everything is checked before anything is trained: each key with each of its values must make a
recipe.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import CompressError, RecipeError, nearest
from pipeline.recipe.file import RecipeFile, load_recipe, recipe_values
from pipeline.recipe.sections.search import SearchRecipe

UNSET = "unset"
STAGES = "stages"

# What would make trials judged by other images, on other hosts or by other rules, so that their
# figures could not be held against each other.
_FIXED = {
    "name": "it names the run",
    "seed": "the luckiest seed is no better a recipe",
    "metric": "figures of another metric cannot be compared",
    "data.name": "accuracies of other images cannot be compared",
    "data.classes": "accuracies of other classes cannot be compared",
    "data.split_seed": "accuracies of other images cannot be compared",
    "data.val_fraction": "accuracies of other images cannot be compared",
    "data.test_fraction": "accuracies of other images cannot be compared",
    "data.evaluation_images": "accuracies of other images cannot be compared",
    "export.targets": "a search is for one target",
    "bench": "latencies of another way to measure cannot be compared",
    "gate": "the budget is what a choice is held against",
    "study": "a trial has no part in it",
    "search": "it is the search itself",
}
_RANGE_KEYS = ("low", "high", "step", "log")


@dataclass(frozen=True)
class SearchAxis:
    """One thing that varies: a list of choices, or a range of numbers.

    Attributes:
        key: of the recipe, or "stages" for one of the named sequences.
        choices: by what each is called in the storage, the value that the key takes.
        low, high, step, log: of a range; whole numbers where all of them are.
    """

    key: str
    choices: Mapping[str, Any] | None = None
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether its numbers are whole."""
        return all(isinstance(n, int) for n in (self.low, self.high, self.step or 1))

    @property
    def size(self) -> int | None:
        """How many values it has; None for ever so many."""
        if self.choices is not None:
            return len(self.choices)
        if self.step is None and not self.is_whole:
            return None
        return int((self.high - self.low) / (self.step or 1) + 1e-9) + 1

    def value(self, drawn: Any) -> Any:
        """What the recipe's key takes for what the storage has."""
        return drawn if self.choices is None else self.choices[drawn]

    def samples(self) -> Iterator[Any]:
        """All choices, or the ends of a range, as the recipe's key takes them."""
        yield from (self.low, self.high) if self.choices is None else self.choices.values()


@dataclass(frozen=True)
class SearchSpace:
    """All that varies."""

    axes: tuple[SearchAxis, ...]

    @property
    def size(self) -> int | None:
        """How many points it has; None for ever so many."""
        sizes = [axis.size for axis in self.axes]
        return None if None in sizes else math.prod(size or 1 for size in sizes)

    def changes(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """The recipe's changes, by place, at a point; whole stages before keys of one."""
        changed = {axis.key: axis.value(drawn[axis.key]) for axis in self.axes}
        return {key: changed[key] for key in sorted(changed, key=lambda key: key != STAGES)}


@dataclass(frozen=True)
class RecipeMaker:
    """Makes a trial's recipe.

    Attributes:
        path: of the search's recipe.
        overrides: what the command line laid over it.
    """

    path: Path
    overrides: Mapping[str, Any]

    def recipe_at(self, changes: Mapping[str, Any]) -> RecipeFile:
        """The recipe of one point: an ordinary one, of a bundle for the target and no more.

        Raises:
            RecipeError: when there can be none.
        """
        file = load_recipe(self.path, {**self.overrides, **changes, **_OF_EVERY_TRIAL})
        return RecipeFile(file.recipe.model_copy(update={"search": None}), file.source)


# The teacher is no candidate, nor is the student without one; test images are for what is picked.
_OF_EVERY_TRIAL = {
    "export.teacher": False,
    "bench.accuracy": False,
    "student.train_alone": False,
}


def space_of(file: RecipeFile, settings: SearchRecipe) -> SearchSpace:
    """The space that a recipe declares; whether recipes can be made of it, `check_space` sees.

    Raises:
        RecipeError: when there is none, a list is empty or a range is none; with the place.
    """
    axes = [_axis(key, value, _where(file, key)) for key, value in settings.space.items()]
    if settings.stages:
        choices = {
            name: [recipe_values(stage) for stage in stages]
            for name, stages in settings.stages.items()
        }
        axes.insert(0, SearchAxis(STAGES, choices))
    if not axes:
        raise RecipeError(
            f"{file.where('search', 'space')}: nothing varies; name keys of the recipe and their "
            'values in [search.space], such as "student.model" = ["resnet8", "resnet20"]'
        )
    return SearchSpace(tuple(axes))


def check_space(file: RecipeFile, space: SearchSpace, maker: RecipeMaker) -> SearchSpace:
    """Make sure that each key with each of its values makes a recipe, whatever the stages are.

    Returns:
        The space, where values of keys that take lists are lists.

    Raises:
        RecipeError, UnknownNameError: when one does not; with the place.
    """
    sequences = next((axis for axis in space.axes if axis.key == STAGES), None)
    bases: list[dict[str, Any]] = (
        [{STAGES: stages} for stages in sequences.samples()] if (sequences) else [{}]
    )
    axes = []
    for axis in space.axes:
        where = _where(file, axis.key)
        if axis.key == STAGES:
            for name, stages in (axis.choices or {}).items():
                _check(maker, {STAGES: stages}, f"{file.where('search', 'stages')}.{name}")
            axes.append(axis)
        else:
            axes.append(_checked(axis, where, bases, maker))
    return SearchSpace(tuple(axes))


def _checked(
    axis: SearchAxis, where: str, bases: Sequence[dict[str, Any]], maker: RecipeMaker
) -> SearchAxis:
    if axis.choices is None:
        for base in bases:
            for number in axis.samples():
                _check(maker, {**base, axis.key: number}, where)
        return axis
    choices = {}
    for label, value in axis.choices.items():
        # One word of a key that takes several: "int8" of export.precisions.
        is_one = not isinstance(value, list) and _fits(axis.key, [value], bases[0], maker)
        is_one = is_one and not _fits(axis.key, value, bases[0], maker)
        choices[label] = [value] if is_one else value
        for base in bases:
            _check(maker, {**base, axis.key: choices[label]}, where)
    return SearchAxis(axis.key, choices)


def _fits(key: str, value: Any, base: Mapping[str, Any], maker: RecipeMaker) -> bool:
    try:
        maker.recipe_at({**base, key: value})
    except CompressError:
        return False
    return True


def _check(maker: RecipeMaker, changes: Mapping[str, Any], where: str) -> None:
    from pipeline.preflight.names import check_names  # noqa: PLC0415 - torch, after misspelt keys

    try:
        file = maker.recipe_at(changes)
        check_names(file)
    except CompressError as error:
        words = str(error).removeprefix("command line, ").removeprefix("--set ")
        raise type(error)(f"{where}: {words}") from error


def _axis(key: str, value: Any, where: str) -> SearchAxis:
    _check_key(key, where)
    if isinstance(value, dict):
        return _range(key, value, where)
    if not isinstance(value, list):
        raise RecipeError(
            f"{where}: must be a list of values or a range {{ low = 1, high = 8 }}, but got "
            f"{value!r}"
        )
    if not value:
        raise RecipeError(f"{where}: the list is empty; name at least one value")
    labels = [choice if isinstance(choice, str) else json.dumps(choice) for choice in value]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise RecipeError(f"{where}: {twice} stands there twice")
    values = [None if choice == UNSET else choice for choice in value]
    return SearchAxis(key, dict(zip(labels, values, strict=True)))


def _check_key(key: str, where: str) -> None:
    for fixed, why in _FIXED.items():
        if key == fixed or key.startswith(f"{fixed}."):
            raise RecipeError(f"{where}: {key} cannot vary, for {why}")
    if key == STAGES:
        raise RecipeError(f"{where}: whole sequences of stages go into [search.stages], by name")


def _range(key: str, value: dict[str, Any], where: str) -> SearchAxis:
    low: Any
    high: Any
    step: Any
    for name in value:
        if name not in _RANGE_KEYS:
            close = nearest(name, _RANGE_KEYS)
            hint = f"did you mean {close!r}?" if close else f"known: {', '.join(_RANGE_KEYS)}"
            raise RecipeError(f"{where}: unknown key {name!r} of a range, {hint}")
    low, high, step, log = [value.get(name) for name in _RANGE_KEYS]
    for name, number in (("low", low), ("high", high)):
        if not _is_number(number):
            raise RecipeError(f"{where}: a range needs low and high, but got {name} = {number!r}")
    if not low < high:
        raise RecipeError(f"{where}: the range is empty, for low = {low} and high = {high}")
    if step is not None and (not _is_number(step) or not 0 < step <= high - low):
        raise RecipeError(f"{where}: step must be from above 0 to high - low, but got {step!r}")
    if log not in (None, True, False):
        raise RecipeError(f"{where}: log must be true or false, but got {log!r}")
    if log and (step is not None or low <= 0):
        raise RecipeError(f"{where}: log needs a low above 0 and goes without a step")
    if step is not None:  # the last that is reached
        high = low + int((high - low) / step + 1e-9) * step
    return SearchAxis(key, None, low, high, step, bool(log))


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _where(file: RecipeFile, key: str) -> str:
    """The place of a key of the space; the line is that of the key as it is written."""
    return file.where("search", "space", *key.split("."))
