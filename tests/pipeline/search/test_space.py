"""What may vary: each key and value is checked before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from foundation.errors import CompressError, RecipeError, UnknownNameError
from pipeline.recipe.by_name import shipped_recipe
from pipeline.recipe.file import load_recipe
from pipeline.search.checks import check_bundles
from pipeline.search.folder import settings_of
from pipeline.search.limits import parse_all
from pipeline.search.space import RecipeMaker, SearchSpace, check_space, space_of


def checked(path: Path, **overrides: Any) -> tuple[SearchSpace, RecipeMaker]:
    file, maker = load_recipe(path, overrides), RecipeMaker(path, overrides)
    return check_space(file, space_of(file, settings_of(file.recipe)), maker), maker


def test_a_point_is_an_ordinary_recipe_with_what_was_drawn(recipe_with) -> None:
    space, maker = checked(
        recipe_with(
            """
            [search.space]
            "student.model" = ["resnet8", "resnet14"]
            "student.prune" = ["unset", 0.25]
            "export.precisions" = ["fp32", "int8"]
            "stages.0.epochs" = { low = 2, high = 9, step = 3 }
            [search.stages]
            kd = [{ methods = "kd", epochs = 1 }]
            at-kd = [{ methods = "at", epochs = 1 }, { methods = "kd", epochs = 5 }]
            """
        )
    )
    assert space.size == 2 * 2 * 2 * 3 * 2
    drawn = {
        "student.model": "resnet14", "student.prune": "unset", "export.precisions": "int8",
        "stages.0.epochs": 5, "stages": "at-kd",
    }  # fmt: skip
    recipe = maker.recipe_at(space.changes(drawn)).recipe
    assert recipe.search is None
    assert (recipe.student.model, recipe.student.prune) == ("resnet14", None)
    assert recipe.export.precisions == ["int8"]
    assert [(stage.name, stage.epochs) for stage in recipe.stages] == [("at", 5), ("kd", 5)]
    assert not recipe.export.teacher


def test_a_range_ends_where_its_steps_do_and_may_be_of_ever_so_many_values(recipe_with) -> None:
    space, _ = checked(
        recipe_with(
            """
            [search.space]
            "data.batch_size" = { low = 16, high = 100, step = 32 }
            "stages.0.lr" = { low = 0.001, high = 0.1, log = true }
            """
        )
    )
    batch, rate = space.axes
    assert (batch.high, batch.size, batch.is_whole) == (80, 3, True)
    assert (rate.size, rate.is_whole, rate.log) == (None, False, True)
    assert space.size is None


@pytest.mark.parametrize(
    ("space", "kind", "words"),
    [
        ('"student.modle" = ["resnet8"]', RecipeError, "unknown key 'modle', did you mean 'model'"),
        ('"export.precision" = ["int8"]', RecipeError, "did you mean 'precisions'"),
        ('"student.model" = []', RecipeError, "the list is empty"),
        ('"student.model" = "resnet8"', RecipeError, "must be a list of values or a range"),
        ('"student.model" = ["resnet8", "resnet8"]', RecipeError, "resnet8 stands there twice"),
        ('"student.model" = ["resnet9"]', UnknownNameError, "did you mean 'resnet8'"),
        ('"export.precisions" = ["int7"]', UnknownNameError, "unknown precision 'int7'"),
        ('"data.image_size" = ["large"]', RecipeError, "but got 'large'"),
        ('"data.image_size" = { low = 32, high = 16 }', RecipeError, "the range is empty"),
        ('"data.image_size" = { low = 0, high = 16 }', RecipeError, "but got 0"),
        (
            '"data.image_size" = { high = 16 }',
            RecipeError,
            "needs low and high, but got low",
        ),
        ('"data.image_size" = { low = 1, hihg = 16 }', RecipeError, "did you mean 'high'"),
        (
            '"stages.0.lr" = { low = 0.0, high = 1.0, log = true }',
            RecipeError,
            "log needs a low ab",
        ),
        ('"stages.0.epochs" = { low = 1, high = 5, step = 9 }', RecipeError, "step must be from"),
        ('"stages.3.epochs" = [1]', RecipeError, "'3' is not one of 0..0"),
        ('"seed" = [1, 2]', RecipeError, "seed cannot vary, for the luckiest seed"),
        ('"data.split_seed" = [1, 2]', RecipeError, "accuracies of other images"),
        ('"bench.threads" = [1, 2]', RecipeError, "bench.threads cannot vary, for latencies"),
        ('"stages" = [1]', RecipeError, "go into [search.stages], by name"),
        ("", RecipeError, "nothing varies"),
    ],
)
def test_what_no_recipe_can_have_is_told_in_a_line_with_its_place(
    recipe_with, space: str, kind: type[CompressError], words: str
) -> None:
    path = recipe_with(f'[search.space]\n{space}\n[[stages]]\nmethods = "kd"\n')
    with pytest.raises(kind) as refused:
        checked(path)
    message = str(refused.value)
    assert words in message, message
    assert message.startswith(f"{path} line"), message
    assert "command line" not in message and "\n" not in message


def test_a_key_of_a_stage_must_be_there_whatever_the_stages_are(recipe_with) -> None:
    path = recipe_with(
        """
        [search.space]
        "stages.1.epochs" = [1, 2]
        [search.stages]
        kd = [{ methods = "kd" }]
        at-kd = [{ methods = "at" }, { methods = "kd" }]
        """
    )
    with pytest.raises(RecipeError, match=r"search\.space\.stages.* is not one of 0\.\.0"):
        checked(path)


def test_a_method_of_a_sequence_must_be_known(recipe_with) -> None:
    path = recipe_with('[search.stages]\nkd = [{ methods = "kdd" }]\n')
    with pytest.raises(UnknownNameError, match=r"search\.stages\.kd: .*kdd"):
        checked(path)


def test_a_recipe_without_a_search_is_told_where_to_begin(recipe_with) -> None:
    with pytest.raises(RecipeError, match=r"it has no \[search\].*digits-search"):
        checked(recipe_with(""))


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        ("mysql://host/db", "must be sqlite:///FILE or postgresql://USER@HOST/DATABASE"),
        ("postgresql://me:secret@host/db", "a password has no place in a recipe"),
    ],
)
def test_a_storage_is_a_database_without_a_password(recipe_with, storage: str, words: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load_recipe(recipe_with(""), {"search.storage": storage})
    assert words in str(refused.value)
    assert "secret" not in str(refused.value)


def test_the_recipe_that_ships_has_a_space_of_more_than_its_trials() -> None:
    path = Path(shipped_recipe("digits-search").path)
    space, maker = checked(path)
    file = load_recipe(path)
    settings = settings_of(file.recipe)
    check_bundles(file, space, maker)
    assert parse_all(settings.limits, "limits")
    assert space.size is not None
    assert 12 <= settings.trials < space.size
