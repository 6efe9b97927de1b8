"""The steps of the training, each carried out or, by its files alone, found done without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.models import teachers_identity, weights_identity
from pipeline.run_folder.folder import RunFolder

if TYPE_CHECKING:
    from pipeline.training.prepare import TrainingData
    from smskd.listening import Listener


def teach(run: RunFolder, data: TrainingData, listener: Listener) -> None:
    """Leave the teacher's weights and what it is worth in the run folder.

    Raises:
        WeightsMismatchError: when given weights are of another architecture or class count.
        ModelMismatchError: when it cannot be used here, or is not as accurate as it is known to be.
    """
    teacher = data.file.recipe.teacher
    with run.step("teacher", weights=teachers_identity(data.file.recipe)) as step:
        if step.needed:
            from pipeline.training.teach import get_teacher  # noqa: PLC0415 - torch

            get_teacher(step, data, listener)
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
    with run.step("alone", weights=weights_identity(student.weights)) as step:
        if step.needed:
            from pipeline.training.alone import (  # noqa: PLC0415 - torch
                train_student_alone as carry_out,
            )

            carry_out(step, data, listener)
