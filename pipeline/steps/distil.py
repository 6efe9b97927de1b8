"""Distil: the student goes through the recipe's stages."""

from __future__ import annotations

from pipeline.data.facts import read_facts
from pipeline.networks import new_network, trained_teacher
from pipeline.pairing import taps_of
from pipeline.processes import share
from pipeline.runs import RunFolder
from pipeline.steps.prepare import TrainingData
from pipeline.steps.teach import note_network
from pipeline.views import keep_views
from smskd.checkpoint import save_model
from smskd.distillation import distill, pair_on, stage_folder
from smskd.listening import Listener
from smskd.results import METRICS, WEIGHTS


def distil(run: RunFolder, data: TrainingData, listener: Listener) -> None:
    """Leave the student, and what each stage made of it, in the run folder."""
    recipe = data.file.recipe
    with run.step("distill", teacher=run.record()["steps"]["teacher"]["products"]) as step:
        if not step.needed:
            return
        facts = read_facts(run.data)
        student = new_network(recipe.student.model, facts, recipe.seed, "student")
        teacher, taps = trained_teacher(run), taps_of(recipe)
        batches = data.batches(data.splits.student_train, recipe.seed, share=share())
        pair = pair_on(teacher, student, batches, taps)
        distill(
            teacher,
            student,
            batches,
            recipe.stages,
            run.stages,
            validation=data.evaluation(data.splits.validation),
            taps=taps,
            seed=recipe.seed,
            engine=recipe.engine,
            listener=listener,
            views=keep_views(run.teacher_views, pair, batches, recipe, listener),
        )
        save_model(run.student, student)
        note_network(run, "student", recipe.student.model, student, data)
        numbered = enumerate(recipe.stages, start=1)
        folders = [run.stages / stage_folder(number, stage) for number, stage in numbered]
        step.products = [
            run.student,
            *(folder / name for folder in folders for name in (WEIGHTS, METRICS)),
        ]
