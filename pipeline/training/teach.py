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
from pipeline.data.facts import read_facts
from pipeline.data.images import Subset, spread
from pipeline.models.costs import cost_of
from pipeline.run_folder.folder import RunFolder, Step
from pipeline.run_folder.torchrun import share
from pipeline.training.expected_accuracy import (
    Answered,
    Answers,
    remark_on_classes,
    remark_on_worth,
)
from pipeline.training.network_checks import check_answers, check_learns
from pipeline.training.networks import NetworkSpec, load_weights_for, new_network
from pipeline.training.pairing import check_pairing
from pipeline.training.preparation_trials import remark_on_preparation
from pipeline.training.prepare import Role, TrainingData
from pipeline.training.students import new_student
from smskd.checkpoints.files import save_model
from smskd.distillation import train_alone
from smskd.evaluation import evaluate
from smskd.features.taps import evaluating
from smskd.listening import Listener
from smskd.training.stage_files import METRICS, WEIGHTS

logger = logging.getLogger(__name__)

_ANSWERED = 2000  # test images; by so many the order of a thousand classes shows


def get_teacher(step: Step, data: TrainingData, listener: Listener) -> None:
    """The body of the step that leaves the teacher's weights, and what it is worth.

    Raises:
        WeightsMismatchError: when given weights are of another architecture or class count.
        ModelMismatchError: when it cannot be used here.
    """
    run, recipe = step.run, data.file.recipe
    spec, facts = NetworkSpec.of(recipe.teacher), read_facts(run.data)
    source = spec.weights or f"teacher {spec.model}"
    network = new_network(spec, facts, recipe.seed, "teacher", say=step.remark)
    # A student that does not fit is told of now, not after the teacher's training.
    student = new_student(recipe, facts)
    check_pairing(recipe, facts, network, student)
    check_learns(student, recipe.student.model, first_images(data, "student"))
    loaded = load_weights_for(spec, network, facts.classes, step.remark)
    remark_on_classes(facts.classes, loaded, source, step.remark)
    check_answers(network, spec.model, first_images(data, "teacher"))
    if spec.weights is not None:
        save_model(run.teacher / WEIGHTS, network)
    else:
        _train(step, network, data, listener)
    worth = note_network(run, "teacher", spec.model, network, data)
    data.check_unchanged()
    if spec.weights is not None:
        labels, answers = data.splits.test.labels, _answers_of(network, data)
        remark_on_worth(worth["test"], labels, loaded, source, step.remark, answers=answers)
        if "teacher" in data.preparations.guessed:
            own = data.splits.teacher_preprocessing
            predict = predictor_of(network)
            remark_on_preparation(predict, data.splits.test, own, source, step.remark)
    step.products = [
        run.teacher / name for name in (WEIGHTS, METRICS) if (run.teacher / name).exists()
    ]


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
    )


def first_images(data: TrainingData, role: Role) -> Tensor:
    """Two validation images as a network of that role takes them."""
    images, _ = next(iter(data.evaluation(data.splits.validation, role)))
    return images[:2] if len(images) > 1 else images.repeat(2, 1, 1, 1)


def _answers_of(network: nn.Module, data: TrainingData) -> Answers:
    """What a teacher answers to the test images, of very many to some, once it is asked for."""

    def answers() -> Answered:
        splits = data.splits
        images = Subset(splits.test, spread(len(splits.test.labels), _ANSWERED))
        device = next(network.parameters()).device
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
    """Write into run.json what a network that learned here is, what it costs and how well it does.

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
    splits = data.splits
    parts = {"test": splits.test, "validation": splits.validation} if splits.are_labelled else {}
    device = next(network.parameters()).device
    worth: dict[str, Any] = {
        part: evaluate(network, data.evaluation(images, role), device)
        for part, images in parts.items()
    }
    record_network(run, role, model, network, worth, key=key, **more)
    return worth


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
    device = next(network.parameters()).device
    images = torch.zeros(1, shape.channels, shape.height, shape.width, device=device)
    networks = run.record().get("networks", {})
    networks[key or role] = {"model": model, **cost_of(network, images), **worth, **more}
    run.note(networks=networks)
