"""Can a recipe do without the labels that its images do not have? Asked before any work begins."""

from __future__ import annotations

from foundation.errors import RecipeError
from pipeline.gating.metrics import metric_named
from pipeline.models.teachers import asked_teacher
from pipeline.recipe.file import RecipeFile
from smskd.earlier import held_specs
from smskd.methods import METHODS

_TOLD_BY_LABELS = ("top1_percent", "drop_vs_teacher_points")


def check_labels(file: RecipeFile) -> None:
    """Make sure that nothing needs labels where there are none.

    Raises:
        RecipeError: when something does; with its place.
    """
    data = file.recipe.data
    if data.unlabelled or data.unlabelled_from is not None:
        _check_methods(file)
    if data.unlabelled:
        _check_teacher(file)
        _check_what_is_told(file)


def check_comparable(file: RecipeFile, command: str) -> None:
    """Make sure that images have labels, and one teacher, for a command that holds accuracies of
    many trainings against each other.

    Raises:
        RecipeError: when they have not.
    """
    if file.recipe.teachers:
        raise RecipeError(
            f"{file.where('teachers')}: {command} compares students of one teacher; write that as "
            "[teacher], or use compress distill"
        )
    if file.recipe.data.unlabelled:
        raise RecipeError(
            f"{file.where('data', 'unlabelled')}: {command} holds accuracies against each other, "
            "and images without labels have none; use compress distill, or data.unlabelled_from "
            "beside images with labels"
        )


def _check_methods(file: RecipeFile) -> None:
    stages = file.recipe.stages
    for number, stage in enumerate(stages):
        for place, method in enumerate(stage.methods):
            _check_method(method.name, file.where("stages", number, "methods", place))
        for spec in held_specs(stages, number):
            _check_method(spec.name, file.where("stages", number, "reference_methods"))


def _check_method(name: str, where: str) -> None:
    if METHODS.get(name).needs_labels():
        raise RecipeError(
            f"{where}: method {name!r} needs the label of each image, and some have none "
            "(data.unlabelled); choose another, such as 'kd'"
        )


def _check_teacher(file: RecipeFile) -> None:
    teacher = file.recipe.teacher
    if file.recipe.teachers:  # all are finished
        return
    if asked_teacher(teacher.model) is None and teacher.weights is None:
        raise RecipeError(
            f"{file.where('teacher', 'model')}: teacher {teacher.model} would be trained here, and "
            "images without labels teach it nothing; give a finished one: an ONNX file, or "
            "teacher.weights (--teacher-weights)"
        )


def _check_what_is_told(file: RecipeFile) -> None:
    recipe = file.recipe
    for number, stage in enumerate(recipe.stages):
        if stage.label_correction:
            raise RecipeError(
                f"{file.where('stages', number, 'label_correction')}: no image has a label to be "
                "corrected; leave it out"
            )
    if recipe.student.train_alone:
        raise RecipeError(
            f"{file.where('student', 'train_alone')}: the same student is to learn from the labels "
            "alone, and no image has one; leave it out"
        )
    for role in ("teacher", "student"):
        if getattr(recipe, role).expect_top1 is not None:
            raise RecipeError(
                f"{file.where(role, 'expect_top1')}: an accuracy is expected, and no image has a "
                "label to tell it by; leave it out"
            )
    _check_rare_classes(file)
    if recipe.metric is not None:
        raise RecipeError(
            f"{file.where('metric')}: {recipe.metric} is told by labels, and no image has one; "
            "leave it out"
        )
    for metric in recipe.gate.limits:
        where = file.where("gate", "limits", metric)
        if metric in _TOLD_BY_LABELS or metric_named(metric, where).of_answers:
            raise RecipeError(
                f"{where}: is told by labels, and no image has one; limit teacher_agreement_percent"
            )


def _check_rare_classes(file: RecipeFile) -> None:
    """How many images a class has, nobody knows."""
    if file.recipe.data.sampling is not None:
        raise RecipeError(
            f"{file.where('data', 'sampling')}: images are drawn by their classes, and no image "
            "has a label; leave it out"
        )
    for number, stage in enumerate(file.recipe.stages):
        for key in ("class_weights", "logit_adjustment"):
            if getattr(stage, key):
                raise RecipeError(
                    f"{file.where('stages', number, key)}: goes by how many images each class has, "
                    "and no image has a label; leave it out"
                )
