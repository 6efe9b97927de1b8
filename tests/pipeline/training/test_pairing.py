"""Teacher and student of a recipe side by side, before any training."""

from __future__ import annotations

from typing import Any

import pytest

from foundation.bundle import Preprocessing
from foundation.errors import ModelMismatchError, RecipeError, UnknownNameError
from pipeline.data.facts import DataFacts
from pipeline.models import build_model
from pipeline.recipe.file import load_recipe
from pipeline.recipe.sections.recipe import Recipe
from pipeline.training.pairing import check_pairing, taps_of

FACTS = DataFacts(
    name="digits",
    classes=["even", "odd"],
    preprocessing=Preprocessing(height=8, width=8, channels=1, mean=[0.5], std=[0.2]),
    counts={"train": 20, "student_train": 10, "validation": 5, "test": 5},
    skipped=[],
)


def recipe(**places: Any) -> Recipe:
    return load_recipe(None, {place.replace("__", "."): v for place, v in places.items()}).recipe


def check(asked: Recipe) -> None:
    teacher, student = (build_model(name, 2, 1) for name in ("resnet14", "resnet8"))
    check_pairing(asked, FACTS, teacher, student)


def test_a_recipe_without_taps_leaves_them_to_be_found() -> None:
    assert taps_of(recipe()) is None
    check(recipe())


def test_taps_are_named_for_both_networks_or_for_neither() -> None:
    both = recipe(student__taps=["layer2"], teacher__taps=["layer3"])
    assert taps_of(both) == (["layer2"], ["layer3"])
    for place in ("student__taps", "teacher__taps"):
        with pytest.raises(RecipeError, match=r"name student\.taps and teacher\.taps, or neither"):
            taps_of(recipe(**{place: ["layer2"]}))


def test_a_tap_that_is_not_there_is_told_of_before_training() -> None:
    with pytest.raises(UnknownNameError, match="layer9"):
        check(recipe(student__taps=["layer9"], teacher__taps=["layer3"]))


def test_a_method_that_the_networks_cannot_serve_is_told_of_before_training() -> None:
    one_tap = {"student__taps": ["layer3"], "teacher__taps": ["layer3"]}
    with pytest.raises(ModelMismatchError):
        check(recipe(stages=[{"methods": "kdsvd"}], **one_tap))
    check(recipe(stages=[{"methods": "crd"}], **one_tap))


def test_a_teacher_of_larger_images_is_looked_at_with_them() -> None:
    check(recipe(data__teacher_image_size=16))


def test_stages_are_built_on_the_student_as_pruning_leaves_it() -> None:
    pytest.importorskip("torch_pruning", reason="torch-pruning is not installed (extra `prune`)")
    asked = recipe(stages=[{"methods": "kd"}, {"methods": "fitnet", "prune": 0.5}])
    teacher, student = (build_model(name, 2, 1) for name in ("resnet14", "resnet8"))
    check_pairing(asked, FACTS, teacher, student)
    assert student.layer3[0].conv1.out_channels == 32


def test_a_student_that_a_later_stage_cannot_prune_is_told_of_before_training() -> None:
    pytest.importorskip("torch_pruning", reason="torch-pruning is not installed (extra `prune`)")
    asked = recipe(stages=[{"methods": "kd"}, {"methods": "kd", "prune": 0.01}])
    with pytest.raises(ModelMismatchError, match=r"0\.01 of its channels.* are none"):
        check(asked)


@pytest.mark.parametrize("key", [{"carry": 0.2}, {"reference_methods": "previous"}])
def test_what_was_learnt_of_the_student_before_it_was_pruned_is_told_of_before_training(
    key: dict[str, Any],
) -> None:
    pytest.importorskip("torch_pruning", reason="torch-pruning is not installed (extra `prune`)")
    for name, fits in (("at", True), ("fitnet", False)):
        asked = recipe(stages=[{"methods": name}, {"methods": "kd", "prune": 0.5, **key}])
        if fits:
            check(asked)
            continue
        with pytest.raises(ModelMismatchError, match="does not fit the student any more"):
            check(asked)
