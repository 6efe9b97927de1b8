"""Teacher: trained on all of the training data, or taken from given weights; see `steps`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from export.checking.answers import predictor_of
from pipeline.data.batches import EvaluationBatches
from pipeline.data.facts import DataFacts, read_facts
from pipeline.data.images import Subset, spread
from pipeline.models.costs import cost_of
from pipeline.models.teachers import NamedTeacher, asked_teacher
from pipeline.models.teachers.asking import AskedTeacher, notice_probabilities
from pipeline.recipe.sections.data import AugmentRecipe
from pipeline.recipe.sections.networks import TeacherRecipe
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.folder import RunFolder, Say, Step
from pipeline.run_folder.network_scores import PartScores
from pipeline.run_folder.torchrun import share
from pipeline.training.agreement import agreement_of, keep_answers
from pipeline.training.class_scores import keep_scores, scores_of
from pipeline.training.expected_accuracy import (
    Answered,
    Answers,
    remark_on_classes,
    remark_on_worth,
)
from pipeline.training.fine_tuning import (
    Begun,
    begin_with_weights,
    note_of,
    remark_on_beginning,
    stage_of,
    tuning_of,
)
from pipeline.training.foreign_models import shown_name
from pipeline.training.network_checks import check_answers, check_learns
from pipeline.training.networks import (
    NetworkSpec,
    check_runs,
    device_of,
    load_weights_for,
    new_network,
    request_for,
    save_asked,
)
from pipeline.training.pairing import check_pairing
from pipeline.training.preparation_trials import remark_on_preparation
from pipeline.training.prepare import Role, TrainingData
from pipeline.training.several_teachers import adopt_teachers, check_one_order, member_files
from pipeline.training.students import new_student
from smskd.checkpoints.files import save_model, save_tensors
from smskd.checkpoints.foreign import Loaded
from smskd.distillation import train_alone
from smskd.evaluation import AnswerLog, evaluate
from smskd.features.taps import evaluating
from smskd.fine_tuning.phase import HEAD
from smskd.fine_tuning.phases import fine_tune
from smskd.listening import Listener
from smskd.teaching.mixed import MixedTeacher
from smskd.training.stage_files import METRICS, WEIGHTS

logger = logging.getLogger(__name__)

_LOOKED_AT = 32
_ANSWERED = 2000  # test images; by so many the order of a thousand classes shows


def get_teacher(
    step: Step, data: TrainingData, listener: Listener, *, has_student: bool = True
) -> None:
    """The body of the step that leaves the teacher's weights, and what it is worth.

    Args:
        step: under way.
        data: what it learns from and is judged on.
        listener: is told how its training goes.
        has_student: whether the recipe's student is to learn from it, and must fit.

    Raises:
        WeightsMismatchError: when given weights are of another architecture or class count.
        ModelMismatchError: when it cannot be used here.
    """
    run, recipe = step.run, data.file.recipe
    asked = asked_teacher(recipe.teacher.model)
    source = recipe.teacher.weights or f"teacher {recipe.teacher.model}"
    network: nn.Module
    loaded: Loaded | None = None
    if recipe.teachers:
        network = _several(step, data)
    elif asked is None:
        network, loaded = _trained_or_loaded(step, data, listener, has_student=has_student)
    else:
        network, loaded = _adopted(step, data, asked)
    together = ", ".join(member.name for member in recipe.teachers)
    name = f"mix of {together}" if together else shown_name(recipe.teacher.model)
    beginning = _beginning_of(recipe.teacher)
    worth = note_network(run, "teacher", name, network, data, **beginning)
    answers = keep_answers(run, network, data)
    data.check_unchanged()
    if loaded is not None and worth:
        _remark_on_foreign(network, data, loaded, worth, source=source, say=step.remark)
    of_the_head = (f"{HEAD}/{WEIGHTS}", f"{HEAD}/{METRICS}")
    names = (WEIGHTS, METRICS, *of_the_head, *([asked.kind.exported] if asked else []))
    left = [run.teacher / name for name in names if name]
    left += [*member_files(run), run.scores("teacher")]
    step.products = [*(path for path in left if path.exists()), *answers]


def _trained_or_loaded(
    step: Step, data: TrainingData, listener: Listener, *, has_student: bool
) -> tuple[nn.Module, Loaded | None]:
    """A teacher of torch: trained here, or with weights from elsewhere and what these tell."""
    run, recipe = step.run, data.file.recipe
    spec = NetworkSpec.of(recipe.teacher)
    facts = read_facts(run.data)
    if spec.begins_with is not None:
        begun = begin_with_weights(spec, facts, recipe.seed, step.remark)
    else:
        begun = Begun(new_network(spec, facts, recipe.seed, "teacher", say=step.remark))
    network = begun.network
    if has_student:
        _check_student(recipe, facts, network, data)
    loaded = load_weights_for(spec, network, facts.classes, step.remark)
    remark_on_classes(facts.classes, loaded, spec.weights or spec.model, step.remark)
    check_answers(network, spec.model, first_images(data, "teacher"))
    if spec.weights is not None:
        save_model(run.teacher / WEIGHTS, network, **note_of(spec, facts))
        return network, loaded
    _train(step, begun, data, listener, note_of(spec, facts, begun.head))
    return network, None


def _beginning_of(teacher: TeacherRecipe) -> dict[str, str]:
    """What a teacher that is fine-tuned began with, without the folders that a file lies in."""
    if teacher.weights or teacher.begins_with is None:
        return {}
    return {"begins_with": Path(teacher.begins_with).name}


def _train(
    step: Step, begun: Begun, data: TrainingData, listener: Listener, notes: Mapping[str, Any]
) -> None:
    recipe, network = data.file.recipe, begun.network
    training = recipe.teacher.training
    remark_on_beginning(training, recipe.teacher.model, step.remark)
    check_learns(network, recipe.teacher.model, first_images(data, "teacher"))
    batches = data.batches(data.splits.train, recipe.seed, "teacher", share())
    if batches.remark:
        step.remark(batches.remark)
    stage, tuning = stage_of(training, len(batches)), tuning_of(training, begun.head)
    settings: dict[str, Any] = {
        "validation": data.evaluation(data.splits.validation, "teacher"),
        "seed": recipe.seed,
        "engine": recipe.engine,
        "listener": listener,
        "notes": notes,
        "metric": data.metric,
    }
    if tuning is None:
        train_alone(network, batches, stage, step.run.teacher, **settings)
        return
    metrics = fine_tune(network, batches, stage, tuning, step.run.teacher, **settings)
    last, best = metrics["last"]["epoch"], metrics["best"]["epoch"]
    if last < stage.epochs:
        step.remark(
            f"the teacher's training ended after {last} of {stage.epochs} epochs, for none was "
            f"better on the validation images than epoch {best} in the {tuning.patience} after it"
        )


def _adopted(step: Step, data: TrainingData, asked: NamedTeacher) -> tuple[nn.Module, Loaded]:
    """A teacher that is asked, and what it tells of its classes."""
    run, recipe = step.run, data.file.recipe
    facts = read_facts(run.data)
    model = recipe.teacher.model
    teacher = asked.kind.adopt(request_for(run, asked), step.remark)
    images, _ = next(iter(data.evaluation(data.splits.validation, "teacher")))
    remark = notice_probabilities(teacher, images[:_LOOKED_AT])
    if remark is not None:
        step.remark(remark)
    if asked.kind.by_number and recipe.data.augment != AugmentRecipe():
        step.remark(
            f"{teacher.name}: is of each image as it is, and the student sees it varied "
            "(data.augment): what the teacher says of all variations is the same"
        )
    check_runs(teacher, model, facts, "teacher")
    check_answers(teacher, model, first_images(data, "teacher"))
    _check_student(recipe, facts, teacher, data)
    loaded = Loaded(classes=asked.kind.classes(asked.argument))
    if asked.kind.by_number and loaded.classes is not None:
        check_one_order({teacher.name: loaded.classes}, facts.classes)
    remark_on_classes(facts.classes, loaded, model, step.remark)
    save_asked(run.teacher / WEIGHTS, teacher)
    return teacher, loaded


def _several(step: Step, data: TrainingData) -> nn.Module:
    """Several finished teachers, which take one's place."""
    run, recipe = step.run, data.file.recipe
    facts = read_facts(run.data)
    images, _ = next(iter(data.evaluation(data.splits.validation, "teacher")))
    teacher = adopt_teachers(run, recipe, facts, images[:_LOOKED_AT], step.remark)
    check_runs(teacher, shown_name(recipe.teacher.model), facts, "teacher")
    _check_student(recipe, facts, teacher, data)
    save_tensors(run.teacher / WEIGHTS, teacher.state_dict())
    return teacher


def _check_student(
    recipe: Recipe, facts: DataFacts, teacher: nn.Module, data: TrainingData
) -> None:
    """A student that does not fit is told of now, not after the teacher's training."""
    student = new_student(recipe, facts)
    check_pairing(recipe, facts, teacher, student)
    check_learns(student, recipe.student.model, first_images(data, "student"))


def _remark_on_foreign(
    network: nn.Module,
    data: TrainingData,
    loaded: Loaded,
    worth: Mapping[str, Any],
    *,
    source: str,
    say: Say,
) -> None:
    """Say where a finished teacher's answers show that something about it is not as it was."""
    labels, answers = data.splits.test.labels, _answers_of(network, data)
    remark_on_worth(worth["test"], labels, loaded, source, say, answers=answers)
    if "teacher" in data.preparations.guessed:
        own = data.splits.teacher_preprocessing
        remark_on_preparation(predictor_of(network), data.splits.test, own, source, say)


def first_images(data: TrainingData, role: Role) -> Tensor:
    """Two validation images as a network of that role takes them."""
    images, _ = next(iter(data.evaluation(data.splits.validation, role)))
    return images[:2] if len(images) > 1 else images.repeat(2, 1, 1, 1)


def _answers_of(network: nn.Module, data: TrainingData) -> Answers:
    """What a teacher answers to the test images, of very many to some, once it is asked for."""

    def answers() -> Answered:
        splits = data.splits
        images = Subset(splits.test, spread(len(splits.test.labels), _ANSWERED))
        device = device_of(network)
        with evaluating(network), torch.inference_mode():
            predicted = [
                network(batch.to(device)).argmax(1).cpu().numpy()
                for batch, _ in EvaluationBatches(
                    images, splits.teacher_preprocessing, data.numbers_of(images)
                )
            ]
        return Answered(np.concatenate(predicted), images.labels, splits.classes)

    return answers


def note_network(
    run: RunFolder,
    role: Role,
    model: str,
    network: nn.Module,
    data: TrainingData,
    *,
    key: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Write into run.json what a network that learned here is, what it costs and how well it does;
    and class by class into a file of its own.

    Args:
        run: the run folder.
        role: the network's.
        model: its name in the recipe.
        network: with its weights.
        data: with validation and test images.
        key: under which it is kept; None takes its role.
        more: further facts of it, as JSON values.

    Returns:
        How well it does: "top1", "loss" and "n", by "test" and "validation"; nothing where images
        have no labels. How often a student agrees with the teacher there is written too.
    """
    splits, metric = data.splits, data.metric
    parts = {"test": splits.test, "validation": splits.validation} if splits.are_labelled else {}
    device = device_of(network)
    worth: dict[str, Any] = {}
    scores: dict[str, PartScores] = {}
    for part, images in parts.items():
        log = AnswerLog(keeps_logits=True)
        worth[part] = evaluate(network, data.evaluation(images, role), device, log)
        scores[part] = scores_of(log.logits, log.labels, metric)
    if role == "student" and splits.unlabelled is not None:
        more["agreement"] = agreement_of(run, network, data, device)
    record_network(run, role, model, network, worth, key=key, **more)
    keep_scores(run.scores(key or role), key or role, splits.classes, scores, metric)
    return worth


def _cost_of(network: nn.Module, images: Tensor) -> dict[str, int | None]:
    if isinstance(network, MixedTeacher):
        return _summed([_cost_of(network.member(name), images) for name in network.names])
    if isinstance(network, AskedTeacher):
        return {"parameters": network.parameters_known, "macs": None}
    return cost_of(network, images)


def _summed(costs: list[dict[str, int | None]]) -> dict[str, int | None]:
    """What several cost together; None where one does not tell."""
    sums: dict[str, int | None] = {}
    for key in costs[0]:
        values = [cost[key] for cost in costs]
        sums[key] = None if None in values else sum(value for value in values if value is not None)
    return sums


def record_network(
    run: RunFolder,
    role: Role,
    model: str,
    network: nn.Module,
    worth: Mapping[str, Any],
    *,
    key: str | None = None,
    **more: Any,
) -> None:
    """Write into run.json what a network is, what it costs and how well it was found to do.

    Args:
        run: the run folder.
        role: the network's.
        model: its name in the recipe.
        network: with its weights.
        worth: "top1", "loss" and "n", by the part of the data.
        key: what it is called there; its role if left out.
        more: further facts of it, as JSON values.
    """
    logger.info("%s %s: %s", key or role, model, dict(worth))
    shape = read_facts(run.data).seen_by(role)
    images = torch.zeros(1, shape.channels, shape.height, shape.width, device=device_of(network))
    networks = run.record().get("networks", {})
    networks[key or role] = {"model": model, **_cost_of(network, images), **worth, **more}
    run.note(networks=networks)
