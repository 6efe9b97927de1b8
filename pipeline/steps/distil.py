"""Distil: the student goes through the recipe's stages."""

from __future__ import annotations

from functools import partial

from pipeline.data.facts import read_facts
from pipeline.networks import form_paths, trained_teacher, weights_identity
from pipeline.pairing import taps_of
from pipeline.processes import share
from pipeline.runs import RunFolder
from pipeline.steps.prepare import TrainingData
from pipeline.steps.teach import note_network
from pipeline.students import prune_once, unpruned_student, what_was_pruned
from pipeline.views import keep_views
from smskd.checkpoint import load_model, save_model
from smskd.distillation import distill, pair_on, stage_folder
from smskd.listening import Listener
from smskd.results import METRICS, RANGES, WEIGHTS


def distil(run: RunFolder, data: TrainingData, listener: Listener) -> None:
    """Leave the student, and what each stage made of it, in the run folder."""
    recipe = data.file.recipe
    depends_on = {
        "teacher": run.record()["steps"]["teacher"]["products"],
        "weights": weights_identity(recipe.student.weights),
    }
    with run.step("distill", **depends_on) as step:
        if not step.needed:
            return
        facts = read_facts(run.data)
        student = unpruned_student(recipe, facts)
        between = partial(prune_once, run, facts)
        between(1, student)
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
            between=between,
        )
        numbered = enumerate(recipe.stages, start=1)
        folders = [run.stages / stage_folder(number, stage) for number, stage in numbered]
        ranges = []
        if recipe.learns_integers:
            # The student in float is that of before: the last stage trained its weights rounded.
            load_model(folders[-2] / WEIGHTS, student)
            ranges = [folders[-1] / RANGES]
        save_model(run.student, student)
        pruned = {"pruned": what_was_pruned(run)} if form_paths(run) else {}
        note_network(run, "student", recipe.student.model, student, data, **pruned)
        step.products = [
            run.student,
            *form_paths(run).values(),
            *(folder / name for folder in folders for name in (WEIGHTS, METRICS)),
            *ranges,
        ]
