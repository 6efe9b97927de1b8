"""Distil: the student goes through the recipe's stages."""

from __future__ import annotations

from pipeline.data.facts import read_facts
from pipeline.networks import new_network, trained_teacher
from pipeline.runs import RunFolder
from pipeline.steps.prepare import TrainingData
from pipeline.steps.teach import note_network
from smskd.checkpoint import save_model
from smskd.distillation import distill, stage_folder
from smskd.listening import Listener
from smskd.training import METRICS, WEIGHTS


def distil(run: RunFolder, data: TrainingData, listener: Listener) -> None:
    """Leave the student, and what each stage made of it, in the run folder."""
    recipe = data.file.recipe
    with run.step("distill", teacher=run.record()["steps"]["teacher"]["products"]) as step:
        if not step.needed:
            return
        facts = read_facts(run.data)
        student = new_network(recipe.student.model, facts, recipe.seed, "student")
        distill(
            trained_teacher(run),
            student,
            data.batches(data.splits.student_train, recipe.seed),
            recipe.stages,
            run.stages,
            validation=data.evaluation(data.splits.validation),
            seed=recipe.seed,
            engine=recipe.engine,
            listener=listener,
        )
        save_model(run.student, student)
        note_network(run, "student", recipe.student.model, student, data)
        folders = [run.stages / stage_folder(*pair) for pair in enumerate(recipe.stages, start=1)]
        step.products = [
            run.student,
            *(folder / name for folder in folders for name in (WEIGHTS, METRICS)),
        ]
