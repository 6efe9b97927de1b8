"""`compress teach`: data, and a teacher that begins with what others have trained."""

from __future__ import annotations

import shlex
from pathlib import Path

from foundation.errors import RecipeError, UsageError
from foundation.files import read_json
from foundation.records import as_dict
from pipeline.commands.distill import begin, stage_table, train_teacher
from pipeline.commands.outcomes import TeachOutcome
from pipeline.models import usual_weights
from pipeline.models.teachers import asked_teacher
from pipeline.recipe.file import RecipeFile
from pipeline.run_folder.binding import Binding, teacher_values, training_values
from pipeline.run_folder.folder import RunFolder
from pipeline.shown.console import at_work, progress_console
from pipeline.shown.outcome import Outcome
from pipeline.shown.words import safe
from pipeline.training.course import course_logs
from pipeline.training.prepare import TrainingData, prepare
from smskd.training.stage_files import METRICS, WEIGHTS


def weights_to_begin_with(file: RecipeFile) -> str | None:
    """The weights that a teacher begins with where the recipe says nothing of them: those that its
    library takes itself. None where the recipe says it.

    Raises:
        UnknownNameError: when there is no such model.
        RecipeError: when the teacher is one that learns nothing, or there are several.
        UsageError: when nobody publishes weights of its model.
    """
    teacher = file.recipe.teacher
    if file.recipe.teachers:
        raise RecipeError(
            f"{file.where('teachers')}: several teachers are finished ones, which learn nothing; "
            "name the one to make as [teacher]"
        )
    if teacher.weights is not None:
        raise RecipeError(
            f"{file.where('teacher', 'weights')}: {teacher.weights} are a finished teacher's, "
            "which learns nothing more; to go on from them, name them with --weights "
            "(teacher.training.weights)"
        )
    if asked_teacher(teacher.model) is not None:
        raise RecipeError(
            f"{file.where('teacher', 'model')}: teacher {teacher.model} is asked, and learns "
            "nothing; name a network of torch, such as torchvision/resnet50"
        )
    if teacher.training.weights is not None:
        return None
    usual = usual_weights(teacher.model)
    if usual is None:
        raise UsageError(
            f"teacher {teacher.model}: no library publishes weights of it to begin with; name a "
            "file with --weights FILE, a model that has some with --teacher torchvision/resnet50, "
            "or train it from the beginning with --weights none (teacher.training.weights)"
        )
    return usual


def teach_only(file: RecipeFile, path: Path | None) -> Outcome:
    """Data and teacher.

    Args:
        file: the recipe.
        path: the run folder; None takes runs/NAME.
    """
    console = progress_console()
    run = begin(file, path, console, _binding_of)
    with run.locked():
        data = TrainingData(file)
        with at_work(console, "data: read and looked through"):
            prepare(run, data)
        with course_logs(run, file) as logs:
            train_teacher(run, data, logs, console, alone=True)
    metrics = read_json(run.teacher / METRICS)
    outcome = TeachOutcome(
        run=str(run.path),
        teacher=run.record()["networks"]["teacher"],
        weights=str(run.teacher / WEIGHTS),
        epochs=metrics["last"]["epoch"],
        best_epoch=metrics["best"]["epoch"],
        remarks=run.remarks(),
    )
    lines = [
        f"epoch {outcome.best_epoch} of {outcome.epochs} was the best on the validation images",
        f"teacher: {outcome.weights}",
        f"next: compress distill --data {shlex.quote(file.recipe.data.name)} "
        f"--teacher {shlex.quote(outcome.run)} --student MODEL",
    ]
    return Outcome(as_dict(outcome), [stage_table(run), *map(safe, lines)])


def _binding_of(run: RunFolder) -> Binding:
    """Until a student has learned, another may: the folder depends on what the teacher does."""
    return training_values if run.stages.exists() else teacher_values
