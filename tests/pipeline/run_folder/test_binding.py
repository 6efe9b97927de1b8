"""What a folder is bound to: changes that matter are refused, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from foundation.errors import RunMismatchError
from pipeline.recipe.file import load_recipe
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.binding import Binding, first_difference, teacher_values, training_values
from pipeline.run_folder.folder import start_run


def asked(**changes: Any) -> Recipe:
    return load_recipe(
        None, {name.replace("__", "."): value for name, value in changes.items()}
    ).recipe


NOT_A_TEACHERS = [
    {"stages__0__epochs": 3},
    {"stages": [{"methods": "kd"}]},
    {"student__model": "resnet14"},
    {"student__prune": 0.3},
    {"teacher__taps": ["layer1"]},
    {"data__student_fraction": 0.5},
    {"data__teacher_views": 2},
    {"data__calibration_images": 8},
    {"export__formats": ["onnx"]},
    {"study__seeds": 9},
]


@pytest.mark.parametrize("changes", NOT_A_TEACHERS, ids=str)
def test_a_teachers_folder_takes_a_change_that_the_teacher_does_not_see(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    start_run(tmp_path / "t", Recipe(), binding=teacher_values)
    start_run(tmp_path / "t", asked(**changes), binding=teacher_values)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "seed is 0 there, 1 here"),
        ({"teacher__model": "resnet32"}, "teacher.model is 'resnet20' there, 'resnet32' here"),
        ({"teacher__training__epochs": 2}, "teacher.training.epochs is 30 there, 2 here"),
        ({"teacher__weights": "w.pt"}, "teacher.weights is unset there, 'w.pt' here"),
        ({"data__name": "folder:x"}, "data.name is 'digits' there, 'folder:x' here"),
        ({"data__split_seed": 4}, "data.split_seed is 0 there, 4 here"),
        ({"data__val_fraction": 0.2}, "data.val_fraction is 0.1 there, 0.2 here"),
        ({"data__batch_size": 8}, "data.batch_size is 64 there, 8 here"),
        ({"data__augment__flip": True}, "data.augment.flip is False there, True here"),
        ({"data__cache": "x"}, "data.cache is unset there, True here"),
        ({"data__image_size": 8}, "data.image_size is unset there, 8 here"),
        ({"data__teacher_image_size": 8}, "data.teacher_image_size is unset there, 8 here"),
        ({"engine__precision": "bf16"}, "engine.precision is 'fp32' there, 'bf16' here"),
    ],
)
def test_a_teachers_folder_refuses_a_change_that_the_teacher_sees_and_names_it(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    start_run(tmp_path / "t", Recipe(), binding=teacher_values)
    with pytest.raises(RunMismatchError) as refused:
        start_run(tmp_path / "t", asked(**changes), binding=teacher_values)
    assert f"made by another recipe: {words}" in str(refused.value)


def test_a_teacher_is_bound_to_its_own_image_size_and_that_at_which_images_are_decoded() -> None:
    small = asked(data__image_size=8, data__teacher_image_size=32)
    larger = asked(data__image_size=16, data__teacher_image_size=32)
    largest = asked(data__image_size=48, data__teacher_image_size=32)
    assert first_difference(teacher_values(small), teacher_values(larger)) is None
    assert first_difference(teacher_values(small), teacher_values(largest)) == (
        "data.image_size is 32 there, 48 here"
    )


def test_with_weights_from_elsewhere_it_does_not_matter_how_a_teacher_would_be_trained() -> None:
    one = asked(teacher__weights="w.pt")
    other = asked(teacher__weights="w.pt", teacher__training__epochs=2)
    for binding in (teacher_values, training_values):
        assert first_difference(binding(one), binding(other)) is None


@pytest.mark.parametrize("binding", [teacher_values, training_values])
def test_where_pictures_are_kept_binds_nothing(binding: Binding) -> None:
    bound, here = (binding(asked(data__cache=folder)) for folder in ("x", "y"))
    assert first_difference(bound, here) is None
    assert first_difference(bound, binding(asked(data__cache="x", data__cache_side=9)))


@pytest.mark.parametrize("binding", [teacher_values, training_values])
def test_what_is_expected_of_weights_binds_nothing(binding: Binding) -> None:
    expecting = asked(teacher__expect_top1=90.0, student__expect_top1=80.0)
    assert first_difference(binding(Recipe()), binding(expecting)) is None


def test_a_run_is_bound_to_all_that_its_weights_depend_on() -> None:
    here = training_values(Recipe())
    assert list(here) == ["seed", "data", "teacher", "student", "stages", "engine"]
    for changes in NOT_A_TEACHERS[:-2]:
        assert first_difference(here, training_values(asked(**changes))), changes


def test_the_first_of_several_differences_is_named() -> None:
    there, here = {"a": 1, "b": [{"c": 1}, {"c": 2}]}, {"a": 1, "b": [{"c": 1}, {"c": 3, "d": 4}]}
    assert first_difference(there, here) == "b[1].c is 2 there, 3 here"
    assert first_difference({"b": [1]}, {"b": [1, 2]}) == "b is a list of 1 there, a list of 2 here"
    assert first_difference(there, there) is None


@pytest.mark.parametrize("binding", [teacher_values, training_values])
def test_who_is_trained_beside_a_student_binds_nothing(binding: Binding) -> None:
    assert first_difference(binding(Recipe()), binding(asked(student__train_alone=True))) is None
