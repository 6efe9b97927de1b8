"""Distil: the student goes through the recipe's stages; see `steps`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from pipeline.data.facts import read_facts
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.folder import RunFolder, Say, Step
from pipeline.run_folder.torchrun import share
from pipeline.training.agreement import answered_batches
from pipeline.training.expected_accuracy import check_expected, remark_on_worth
from pipeline.training.network_checks import check_answers, check_learns
from pipeline.training.networks import form_paths
from pipeline.training.pairing import taps_of, teacher_of
from pipeline.training.prepare import TrainingData
from pipeline.training.retained import keep_retention
from pipeline.training.several_teachers import finished_teacher, prepared_as
from pipeline.training.students import prune_once, pruning_records, unpruned_student
from pipeline.training.teach import first_images, note_network
from pipeline.training.teacher_views import keep_views
from smskd.checkpoints.files import load_model, save_model
from smskd.checkpoints.foreign import Loaded
from smskd.distillation import StageTeacher, distill, pair_on
from smskd.evaluation import evaluate
from smskd.listening import Listener
from smskd.objective import spelled_out
from smskd.pair import Pair
from smskd.stage import stage_folder
from smskd.training.stage_files import METRICS, RANGES, WEIGHTS, left_for_later


def distil(step: Step, data: TrainingData, listener: Listener) -> None:
    """The body of the step that leaves the student, and what each stage made of it.

    Raises:
        ModelMismatchError: when it cannot be used, or is not as accurate as it is known to be.
    """
    run, recipe = step.run, data.file.recipe
    remark_on_weights(step, recipe)
    facts = read_facts(run.data)
    student, loaded = unpruned_student(recipe, facts, step.remark)
    _check_beginning(student, loaded, data, step)
    between = partial(prune_once, run, facts)
    between(1, student)
    teacher = finished_teacher(run)
    batches = data.batches(data.splits.student_train, recipe.seed, share=share())
    if batches.remark:
        step.remark(batches.remark)
    pairs: dict[str | None, Pair] = {}
    for stage in recipe.stages:
        if stage.teacher not in pairs:
            own, taps = teacher_of(teacher, stage), taps_of(recipe, stage.teacher)
            pairs[stage.teacher] = pair_on(own, student, batches, taps)
    root = run.teacher_views
    views = {
        name: keep_views(root, pair, batches, recipe, listener, prepared=prepared_as(run, name))
        for name, pair in pairs.items()
    }
    labelled = data.splits.are_labelled
    distill(
        teacher,
        student,
        batches,
        recipe.stages,
        run.stages,
        validation=data.evaluation(data.splits.validation) if labelled else None,
        agreement=answered_batches(run, data).get("validation"),
        taps=taps_of(recipe),
        seed=recipe.seed,
        engine=recipe.engine,
        listener=listener,
        views=views.get(None),
        teachers={
            name: StageTeacher(pair.teacher.model, views[name], taps_of(recipe, name))
            for name, pair in pairs.items()
            if name is not None
        },
        between=between,
        beginning=step.depends_on["weights"],
        metric=data.metric,
    )
    left = [*_left_by_stages(run, recipe, student), run.student]
    pruned: dict[str, Any] = {"pruned": pruning_records(run)} if form_paths(run) else {}
    note_network(run, "student", recipe.student.model, student, data, **pruned)
    data.check_unchanged()
    scores = [path for path in [run.scores("student")] if path.exists()]
    step.products = [*left, *scores, *_retention(run, pairs, data, step.remark)]


def _retention(
    run: RunFolder, pairs: Mapping[str | None, Pair], data: TrainingData, say: Say
) -> list[Path]:
    if len(pairs) == 1:
        (pair,) = pairs.values()
        return keep_retention(run, pair, data, say)
    say("the retention matrix is left out: stages have several teachers, whose losses differ")
    return []


def _left_by_stages(run: RunFolder, recipe: Recipe, student: nn.Module) -> list[Path]:
    """The files that the stages left, once the student's own weights are written beside them."""
    numbered = enumerate(recipe.stages, start=1)
    folders = [run.stages / stage_folder(number, stage) for number, stage in numbered]
    ranges = []
    if recipe.learns_integers:
        # The student in float is that of before: the last stage trained its weights rounded.
        load_model(folders[-2] / WEIGHTS, student)
        ranges = [folders[-1] / RANGES]
    save_model(run.student, student)
    return [
        *form_paths(run).values(),
        *(folder / name for folder in folders for name in (WEIGHTS, METRICS)),
        *(path for folder in folders for path in left_for_later(folder)),
        *ranges,
    ]


def _check_beginning(student: nn.Module, loaded: Loaded, data: TrainingData, step: Step) -> None:
    """Make sure that a student can learn, and that weights from elsewhere are what they were.

    Raises:
        ModelMismatchError: when it cannot be used, or is not as accurate as it is known to be.
    """
    recipe = data.file.recipe.student
    check_learns(student, recipe.model, first_images(data, "student"))
    check_answers(student, recipe.model, first_images(data, "student"))
    if recipe.weights is None and recipe.expect_top1 is None:
        return
    source, test = recipe.weights or recipe.model, data.splits.test
    if not data.splits.are_labelled:
        check_expected(None, recipe.expect_top1, source)
        return
    worth = evaluate(student, data.evaluation(test))
    remark_on_worth(worth, test.labels, loaded, source, step.remark)
    check_expected(worth, recipe.expect_top1, source)


def remark_on_weights(step: Step, recipe: Recipe) -> None:
    """Tell which weight of the labels was taken where several methods have one beside them; and
    that none counts where no image has a label."""
    if recipe.data.unlabelled:
        step.remark(
            "no image has a label: the cross-entropy with the labels is 0 in every stage, whatever "
            "its weight, and TCP is the teacher's probability of the class that it answers"
        )
        return
    for number, stage in enumerate(recipe.stages, start=1):
        if stage.ce_weight is None and len(stage.method_specs) > 1:
            weight = spelled_out(stage).ce_weight
            step.remark(
                f"stage {stage_folder(number, stage)}: the cross-entropy has weight {weight:g}, "
                "the largest that one of these methods has beside it; ce_weight sets another"
            )
