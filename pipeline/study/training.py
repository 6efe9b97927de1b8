"""What is done for a study in a process of its own: a teacher, or one arm with one seed."""

from __future__ import annotations

import shutil
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from foundation.files import write_text
from pipeline.data.facts import read_facts, write_facts
from pipeline.recipe.file import RecipeFile
from pipeline.run_folder.binding import teacher_values
from pipeline.run_folder.folder import code_commit, release_of, start_run
from pipeline.study.alone import alone_in
from pipeline.study.arms import Arm
from pipeline.study.folder import ArmResult, write_result
from pipeline.study.tasks import Task
from pipeline.training.networks import trained_teacher
from pipeline.training.pairing import taps_of
from pipeline.training.prepare import TrainingData, compare_with_run, prepare
from pipeline.training.retained import SeenByBoth
from pipeline.training.steps import teach
from pipeline.training.students import new_student
from pipeline.training.teacher_views import keep_views
from smskd.distillation import distill, pair_on, train_alone
from smskd.evaluation import evaluate
from smskd.listening import Listener
from smskd.retention import retention_matrix
from smskd.stage import stage_folder

_FINGERPRINT = "fingerprint"


def carry_out(task: Task, listener: Listener) -> None:
    """Train what the task says, or go on with it where it was stopped."""
    with alone_in(task.folder, task.name):
        if task.arm is None:
            train_teacher(task, listener)
        else:
            train_arm(task, task.arm, listener)


def train_teacher(task: Task, listener: Listener) -> None:
    """The data's facts, a trained teacher, and what it says about fixed views if they are asked.

    Its folder is bound to what the teacher depends on, so that other studies may share it.
    """
    file = _seeded(task.file, task.seed)
    run = start_run(task.folder, file.recipe, binding=teacher_values)
    data = TrainingData(file)
    with run.locked():
        run.note(threads=task.threads)
        prepare(run, data)
        # Another study may see less of the data; what is read of it later lies in our own folder.
        write_facts(task.study.data, read_facts(run.data))
        teach(run, data, listener)
    _Bench(task).views(listener)


def train_arm(task: Task, arm: Arm, listener: Listener) -> None:
    """Train one arm from the first weights of its seed, measure it, and leave result.json."""
    fingerprint = task.fingerprint()
    _clear_others_work(task.folder, fingerprint)
    bench = _Bench(task)
    metrics = bench.train(arm, listener)
    history = [
        {"epoch": number, "stage": stage["index"], **_recorded(record)}
        for number, (stage, record) in enumerate(
            ((stage, record) for stage in metrics for record in stage["history"]), start=1
        )
    ]
    retention = bench.retention(arm) if len(arm.stages) > 1 else None
    validation_top1 = bench.top1("validation")
    result = ArmResult(
        fingerprint=fingerprint,
        arm=arm.name,
        seed=task.seed,
        validation_top1=validation_top1,
        test_top1=bench.top1("test"),
        history=history,
        after_stage=retention["top1"] if retention else [validation_top1],
        seconds_per_epoch=statistics.median(record["seconds"] for record in history),
        seconds=sum(record["seconds"] for record in history),
        retention=retention,
        versions={name: release_of(name) for name in ("edge-compress", "torch")}
        | {"commit": code_commit()},
    )
    write_result(task.folder, result)


def _seeded(file: RecipeFile, seed: int) -> RecipeFile:
    return replace(file, recipe=file.recipe.model_copy(update={"seed": seed}))


def _clear_others_work(folder: Path, fingerprint: str) -> None:
    """Take away what an arm of this name left that was asked otherwise.

    Most of it a stage would find out by itself, but not, say, another number of threads.
    """
    note = folder / _FINGERPRINT
    if folder.exists() and (not note.exists() or note.read_text() != fingerprint):
        shutil.rmtree(folder)
    write_text(note, fingerprint)


def _recorded(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in ("losses", "val_top1", "seconds")}


class _Bench:
    """Student, teacher and data of one seed, and what can be done with them."""

    def __init__(self, task: Task) -> None:
        file = _seeded(task.file, task.seed)
        self.folder, self.seed, self.recipe = task.folder, task.seed, file.recipe
        self.data = TrainingData(file)
        self.teacher_run = task.study.teacher(task.teacher_seed)
        compare_with_run(self.teacher_run, self.data)
        facts = read_facts(task.study.data)
        self.student = new_student(self.recipe, facts)
        self.teacher = trained_teacher(self.teacher_run)
        self.taps = taps_of(self.recipe)
        self.batches = self.data.batches(self.data.splits.student_train, self.seed)

    def views(self, listener: Listener) -> Any:
        """What the teacher says about the fixed views; None when there are none."""
        pair = pair_on(self.teacher, self.student, self.batches, self.taps)
        root = self.teacher_run.teacher_views
        return keep_views(root, pair, self.batches, self.recipe, listener)

    def train(self, arm: Arm, listener: Listener) -> list[dict[str, Any]]:
        """Take the student through an arm's stages; each stage's metrics."""
        first = arm.stages[0]
        settings: dict[str, Any] = {
            "validation": self.data.evaluation(self.data.splits.validation),
            "validate_every": self.recipe.study.validate_every,
            "seed": self.seed,
            "engine": self.recipe.engine,
            "listener": listener,
            "metric": self.data.metric,
        }
        if not any(stage.methods for stage in arm.stages) and len(arm.stages) == 1:
            folder = self.folder / stage_folder(1, first)
            return [train_alone(self.student, self.batches, first, folder, **settings)]
        return distill(
            self.teacher,
            self.student,
            self.batches,
            arm.stages,
            self.folder,
            taps=self.taps,
            views=self.views(listener),
            **settings,
        )

    def retention(self, arm: Arm) -> dict[str, Any]:
        """The arm's retention matrix on the validation images."""
        pair = pair_on(self.teacher, self.student, self.batches, self.taps)
        held_out = SeenByBoth(self.data)
        return retention_matrix(pair, arm.stages, self.folder, held_out, self.recipe.engine)

    def top1(self, part: str) -> float:
        """The student's accuracy on "validation" or "test"."""
        images = getattr(self.data.splits, part)
        device = next(self.student.parameters()).device
        top1: float = evaluate(self.student, self.data.evaluation(images), device)["top1"]
        return top1
