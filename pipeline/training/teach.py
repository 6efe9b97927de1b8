"""Teacher: trained on all of the training data, or taken from given weights; see `steps`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
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
from pipeline.recipe.sections import Recipe
from pipeline.run_folder.folder import RunFolder, Say, Step
from pipeline.run_folder.network_scores import PartScores
from pipeline.run_folder.torchrun import share
from pipeline.training.class_scores import keep_scores, scores_of
from pipeline.training.expected_accuracy import (
    Answered,
    Answers,
    remark_on_classes,
    remark_on_worth,
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
from pipeline.training.students import new_student
from smskd.checkpoints.files import save_model
from smskd.checkpoints.foreign import Loaded
from smskd.distillation import train_alone
from smskd.evaluation import AnswerLog, evaluate
from smskd.features.taps import evaluating
from smskd.listening import Listener
from smskd.training.stage_files import METRICS, WEIGHTS

logger = logging.getLogger(__name__)

_LOOKED_AT = 32
_ANSWERED = 2000  # test images; by so many the order of a thousand classes shows


def get_teacher(step: Step, data: TrainingData, listener: Listener) -> None:
    """The body of the step that leaves the teacher's weights, and what it is worth.

    Raises:
        WeightsMismatchError: when given weights are of another architecture or class count.
        ModelMismatchError: when it cannot be used here.
    """
    run, recipe = step.run, data.file.recipe
    asked = asked_teacher(recipe.teacher.model)
    source = recipe.teacher.weights or f"teacher {recipe.teacher.model}"
    if asked is None:
        network, loaded = _trained_or_loaded(step, data, listener)
    else:
        network, loaded = _adopted(step, data, asked)
    worth = note_network(run, "teacher", shown_name(recipe.teacher.model), network, data)
    data.check_unchanged()
    if loaded is not None:
        _remark_on_foreign(network, data, loaded, worth, source=source, say=step.remark)
    names = (WEIGHTS, METRICS, *([asked.kind.exported] if asked else []))
    left = [run.teacher / name for name in names if name]
    step.products = [path for path in (*left, run.scores("teacher")) if path.exists()]


def _trained_or_loaded(
    step: Step, data: TrainingData, listener: Listener
) -> tuple[nn.Module, Loaded | None]:
    """A teacher of torch: trained here, or with weights from elsewhere and what these tell."""
    run, recipe = step.run, data.file.recipe
    spec = NetworkSpec.of(recipe.teacher)
    facts = read_facts(run.data)
    network = new_network(spec, facts, recipe.seed, "teacher", say=step.remark)
    _check_student(recipe, facts, network, data)
    loaded = load_weights_for(spec, network, facts.classes, step.remark)
    remark_on_classes(facts.classes, loaded, spec.weights or spec.model, step.remark)
    check_answers(network, spec.model, first_images(data, "teacher"))
    if spec.weights is not None:
        save_model(run.teacher / WEIGHTS, network)
        return network, loaded
    _train(step, network, data, listener)
    return network, None


def _train(step: Step, network: nn.Module, data: TrainingData, listener: Listener) -> None:
    recipe = data.file.recipe
    check_learns(network, recipe.teacher.model, first_images(data, "teacher"))
    batches = data.batches(data.splits.train, recipe.seed, "teacher", share())
    if batches.remark:
        step.remark(batches.remark)
    train_alone(
        network,
        batches,
        recipe.teacher.training,
        step.run.teacher,
        validation=data.evaluation(data.splits.validation, "teacher"),
        seed=recipe.seed,
        engine=recipe.engine,
        listener=listener,
        metric=data.metric,
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
    check_runs(teacher, model, facts, "teacher")
    check_answers(teacher, model, first_images(data, "teacher"))
    _check_student(recipe, facts, teacher, data)
    loaded = Loaded(classes=asked.kind.classes(asked.argument))
    remark_on_classes(facts.classes, loaded, model, step.remark)
    save_asked(run.teacher / WEIGHTS, teacher)
    return teacher, loaded


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
                for batch, _ in EvaluationBatches(images, splits.teacher_preprocessing)
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
        have no labels.
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
    record_network(run, role, model, network, worth, key=key, **more)
    keep_scores(run.scores(key or role), key or role, splits.classes, scores, metric)
    return worth


def _cost_of(network: nn.Module, images: Tensor) -> dict[str, int | None]:
    if isinstance(network, AskedTeacher):
        return {"parameters": network.parameters_known, "macs": None}
    return cost_of(network, images)


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
