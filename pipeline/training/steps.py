"""The steps of the training, each carried out or, by its files alone, found done without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.metrics import metric_identity
from pipeline.models import teachers_identity, weights_identity
from pipeline.run_folder.folder import RunFolder

if TYPE_CHECKING:
    from pipeline.training.prepare import TrainingData
    from smskd.listening import Listener


def teach(
    run: RunFolder, data: TrainingData, listener: Listener, *, has_student: bool = True
) -> None:
    """Leave the teacher's weights and what it is worth in the run folder.

    Args:
        run: the run folder.
        data: what it learns from and is judged on.
        listener: is told how its training goes.
        has_student: whether the recipe's student is to learn from it, and must fit.

    Raises:
        WeightsMismatchError: when given weights are of another architecture or class count.
        ModelMismatchError: when it cannot be used here, or is not as accurate as it is known to be.
    """
    teacher = data.file.recipe.teacher
    weights = teachers_identity(data.file.recipe)
    with run.step("teacher", weights=weights, **judged_by(data), **_answered(run, data)) as step:
        if step.needed:
            from pipeline.training.teach import get_teacher  # noqa: PLC0415 - torch

            get_teacher(step, data, listener, has_student=has_student)
    if teacher.expect_top1 is not None:
        from pipeline.training.expected_accuracy import check_expected  # noqa: PLC0415 - torch

        source = teacher.weights or f"teacher {teacher.model}"
        worth = run.record()["networks"]["teacher"].get("test")
        check_expected(worth, teacher.expect_top1, source)


def distil(run: RunFolder, data: TrainingData, listener: Listener) -> None:
    """Leave the student, and what each stage made of it, in the run folder.

    Raises:
        ModelMismatchError: when it cannot be used, or is not as accurate as it is known to be.
    """
    depends_on = {
        "teacher": run.record()["steps"]["teacher"]["products"],
        "weights": weights_identity(data.file.recipe.student.weights),
        **judged_by(data),
    }
    with run.step("distill", **depends_on) as step:
        if step.needed:
            from pipeline.training.distil import distil as carry_out  # noqa: PLC0415 - torch

            carry_out(step, data, listener)


def train_student_alone(run: RunFolder, data: TrainingData, listener: Listener) -> None:
    """Leave in the run folder what the labels alone make of the student, if the recipe asks for it;
    see `pipeline.training.alone`."""
    student = data.file.recipe.student
    if not student.train_alone:
        return
    weights = weights_identity(student.weights)
    with run.step("alone", weights=weights, **judged_by(data)) as step:
        if step.needed:
            from pipeline.training.alone import (  # noqa: PLC0415 - torch
                train_student_alone as carry_out,
            )

            carry_out(step, data, listener)


def _answered(run: RunFolder, data: TrainingData) -> dict[str, dict[str, str]]:
    """Which images without labels the teacher is asked about, where there are some."""
    recipe = data.file.recipe.data
    if not recipe.unlabelled and recipe.unlabelled_from is None:
        return {}
    products: dict[str, str] = run.record()["steps"].get("data", {}).get("products", {})
    return {"answered": products}


def judged_by(data: TrainingData) -> dict[str, str]:
    """What judging depends on: the metric's name and code, where the recipe has one."""
    name = data.file.recipe.metric
    return {} if name is None else {"metric": metric_identity(name)}
