"""The same student without a teacher: what distillation gained is told against it."""

from __future__ import annotations

from pipeline.data.facts import read_facts
from pipeline.run_folder.folder import Step
from pipeline.run_folder.torchrun import share
from pipeline.training.one_schedule import alone_stage
from pipeline.training.prepare import TrainingData
from pipeline.training.students import new_student
from pipeline.training.teach import note_network
from smskd.distillation import train_alone
from smskd.listening import Listener
from smskd.training.stage_files import METRICS, WEIGHTS


def train_student_alone(step: Step, data: TrainingData, listener: Listener) -> None:
    """The body of the step that leaves in the run folder what the labels alone make of the student.

    It has the first weights, the images and the epochs that the distilled one has, those of a stage
    that trains 8-bit numbers aside. This is the arm "alone" of a study.
    """
    run, recipe = step.run, data.file.recipe
    images = data.splits.with_labels or data.splits.student_train
    stage = alone_stage([stage for stage in recipe.stages if not stage.quantized])
    student = new_student(recipe, read_facts(run.data))
    train_alone(
        student,
        data.batches(images, recipe.seed, share=share()),
        stage,
        run.alone,
        validation=data.evaluation(data.splits.validation),
        seed=recipe.seed,
        engine=recipe.engine,
        listener=listener,
        metric=data.metric,
    )
    note_network(run, "student", recipe.student.model, student, data, key="alone")
    data.check_unchanged()
    left = [*(run.alone / name for name in (WEIGHTS, METRICS)), run.scores("alone")]
    step.products = [path for path in left if path.exists()]
