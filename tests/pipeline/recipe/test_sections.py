from __future__ import annotations

import pytest
from pydantic import ValidationError

from foundation.errors import RecipeError
from pipeline.recipe.file import dump_recipe, load_recipe
from pipeline.recipe.sections.data import AugmentRecipe
from pipeline.recipe.sections.recipe import Recipe, own_schedules


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("seed", -1, "from 0 to 4,294,967,295"),
        ("seed", 2**32, "from 0 to 4,294,967,295"),
        ("data.split_seed", 2**32, "from 0 to 4,294,967,295"),
        ("data.val_fraction", 0.0, "greater than 0"),
        ("data.val_fraction", 1.0, "less than 1"),
        ("data.student_fraction", 1.5, "less than or equal to 1"),
        ("data.image_size", 0, "from 1 to 8,192"),
        ("data.image_size", 10**6, "from 1 to 8,192"),
        ("data.batch_size", 10**6, "from 1 to 65,536"),
        ("data.mean", [1e308], "from -1,000,000.0 to"),
        ("data.teacher_views", 10**12, "from 1 to 10,000"),
        ("data.augment.shift", -1, "from 0 to 8,192"),
        ("data.cache_side", 256, "in a cache, but there is none"),
        ("data.augment.hue", 0.6, "less than or equal to 0.5"),
        ("data.augment.erase", 1.5, "less than or equal to 1"),
        ("data.augment.crop_size", 160, "crop_min_area is not set"),
        ("data.on_bad_image", "ignore", "'refuse' or 'skip'"),
        ("teacher.training.epochs", 0, "from 1 to 1,000,000"),
        ("stages.0.epochs", 10**12, "from 1 to 1,000,000"),
        ("stages.0.lr", 0.0, "above 0 and at most 1,000"),
        ("stages.0.lr", 1e308, "above 0 and at most 1,000"),
        ("stages.0.methods.0.weight", 1e300, "from 0 to 1,000,000,000"),
        ("teacher.expect_top1", 0.91, "in percent of the test images, such as 91.2, but got 0.91"),
        ("student.expect_top1", 101.0, "in percent"),
        ("student.weights_key", "model_ema", "but there are no weights"),
        ("stages.0.lr", float("inf"), "finite"),
        ("stages.0.momentum", 1.0, "less than 1"),
        ("stages.0.optimizer", "lion", "'sgd', 'adamw' or 'lamb'"),
        ("stages.0.schedule", "cosin", "must be one of constant, cosine, linear, step, shared"),
        ("stages.0.schedule", "shared", "the first has none before it; name its schedule"),
        ("stages.1.warm_lr", 1.5, "above 0 and at most 1"),
        ("teacher.training.schedule", "shared", "name its schedule"),
        ("study.baseline_schedules", ["shared"], "must be one of constant, cosine, linear, step"),
        ("stages.0.methods", [], "at least 1"),
        ("stages.0.methods", ["kd", "kd"], "each method once"),
        ("teacher.training.methods", [{"name": "kd"}], "at most 0"),
        ("stages", [], "at least 1"),
        ("export.targets", [], "at least 1"),
        ("bench.queries", 1, "from 2 to 10,000,000"),
        ("bench.queries", 10**15, "from 2 to 10,000,000"),
        ("bench.threads", 10**9, "from 1 to 1,024"),
        ("bench.max_seconds", 1e300, "above 0 and at most"),
        ("bench.pin", "0-400000000", "cores from 0 to 8191"),
        ("study.seeds", 10**12, "from 1 to 1,024"),
        ("bench.max_seconds", float("inf"), "finite"),
        ("bench.precision_hint", "bf16", "'f32' or 'auto'"),
        ("gate.limits.size_mb", {}, "needs max, min or max_regression"),
        ("gate.limits.size_mb", {"max": float("nan")}, "finite"),
        ("name", "a/b", "pattern"),
        ("name", "", "pattern"),
    ],
)
def test_an_impossible_value_is_refused_and_quoted(key: str, value: object, words: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load_recipe(None, {key: value})
    assert words in str(refused.value)
    assert key.rpartition(".")[2] in str(refused.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", "0"),
        ("seed", 1.5),
        ("data.batch_size", "64"),
        ("data.augment.flip", 1),
        ("student.model", 8),
        ("stages.0.lr", "fast"),
        ("stages.0.methods", [{"name": "kd", "weight": "heavy"}]),
        ("export.targets", "local"),
        ("export.teacher", "yes"),
        ("bench.threads", 1.0),
    ],
)
def test_a_wrong_type_is_refused_and_nothing_is_converted(key: str, value: object) -> None:
    with pytest.raises(RecipeError, match=key.split(".", maxsplit=1)[0]):
        load_recipe(None, {key: value})


@pytest.mark.parametrize("key", ["seed", "data.split_seed"])
def test_the_largest_seed_is_taken(key: str) -> None:
    recipe = load_recipe(None, {key: 2**32 - 1}).recipe
    assert 2**32 - 1 in {recipe.seed, recipe.data.split_seed}


def test_a_whole_number_serves_where_a_fraction_may_stand() -> None:
    assert load_recipe(None, {"bench.max_seconds": 5}).recipe.bench.max_seconds == 5.0


def test_the_default_road_is_fitnet_then_kd_on_one_schedule() -> None:
    assert [(stage.name, stage.schedule) for stage in Recipe().stages] == [
        ("fitnet", "cosine"), ("kd", "shared"),
    ]  # fmt: skip
    changed = load_recipe(None, {"stages.1.lr": 0.01}).recipe.stages
    assert [stage.schedule for stage in changed] == ["cosine", "cosine"]


def test_stages_go_on_on_one_schedule_but_where_one_prunes_or_quantises(tmp_path) -> None:
    stages = [
        {"methods": "at", "lr": 0.1, "warmup_epochs": 1.0},
        {"methods": "kd"},
        {"methods": "rkd", "prune": 0.2},
        {"methods": "kd", "warm_lr": 0.5},
        {"methods": "quant"},
    ]
    recipe = load_recipe(None, {"stages": stages}).recipe
    assert [stage.schedule for stage in recipe.stages] == ["cosine", "shared", *["cosine"] * 3]
    path = tmp_path / "recipe.toml"
    path.write_text(dump_recipe(recipe))
    assert load_recipe(path).recipe == recipe


def test_each_stage_can_have_the_whole_of_a_curve_that_they_would_share() -> None:
    stages = [
        {"methods": "at", "lr": 0.1, "schedule": "linear", "epochs": 4, "hold_epochs": 4.0},
        {"methods": "kd"},
        {"methods": "quant"},
    ]
    recipe = load_recipe(None, {"stages": stages}).recipe
    changed = load_recipe(None, {"stages": stages, **own_schedules(recipe)}).recipe
    assert [stage.schedule for stage in changed.stages] == ["linear", "linear", "cosine"]
    assert [stage.lr for stage in changed.stages] == [0.1, 0.1, 0.005]
    assert [stage.hold_epochs for stage in changed.stages] == [0.0, 0.0, 0.0]


def test_a_pruned_student_cannot_go_on_on_the_same_schedule() -> None:
    stages = [{"methods": "at"}, {"methods": "kd", "schedule": "shared", "prune": 0.2}]
    with pytest.raises(RecipeError, match="does not fit a student that was pruned"):
        load_recipe(None, {"stages": stages})


def test_one_key_of_a_table_does_not_change_the_others() -> None:
    changed = load_recipe(None, {"teacher.training.lr": 0.5}).recipe.teacher.training
    assert (changed.lr, changed.epochs) == (0.5, Recipe().teacher.training.epochs)


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe().seed = 3


class TestAPresetOfAugmentation:
    def test_sets_what_is_not_written_down(self) -> None:
        augment = load_recipe(None, {"data.augment.preset": "imagenet"}).recipe.data.augment
        assert (augment.crop_min_area, augment.flip, augment.shift) == (0.08, True, 0)
        augment = load_recipe(None, {"data.augment.preset": "cifar"}).recipe.data.augment
        assert (augment.crop_min_area, augment.flip, augment.shift) == (None, True, 4)

    def test_leaves_what_is_written_down(self) -> None:
        changes = {"preset": "imagenet", "flip": False, "crop_min_area": 0.35}
        augment = load_recipe(None, {"data.augment": changes}).recipe.data.augment
        assert (augment.crop_min_area, augment.flip) == (0.35, False)

    def test_of_none_changes_nothing(self) -> None:
        augment = load_recipe(None, {"data.augment.preset": "none"}).recipe.data.augment
        assert augment == AugmentRecipe()

    def test_comes_back_from_the_recipe_that_a_run_keeps(self, tmp_path) -> None:
        recipe = load_recipe(None, {"data.augment.preset": "cifar", "data.augment.shift": 2}).recipe
        path = tmp_path / "recipe.toml"
        path.write_text(dump_recipe(recipe))
        assert load_recipe(path).recipe == recipe

    def test_that_is_unknown_is_refused(self) -> None:
        with pytest.raises(RecipeError, match="'none', 'imagenet' or 'cifar'"):
            load_recipe(None, {"data.augment.preset": "imagenette"})


def test_a_search_by_a_metric_needs_one() -> None:
    search = {"objectives": ["metric", "size"]}
    with pytest.raises(ValidationError, match="the recipe has none; set metric"):
        Recipe.model_validate({"search": search})
    assert Recipe.model_validate({"search": search, "metric": "macro_f1"}).metric == "macro_f1"
