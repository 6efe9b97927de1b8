"""Teacher: trained on all of the training data, or taken from given weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pipeline.costs import cost_of
from pipeline.data.facts import read_facts
from pipeline.networks import load_weights, new_network, weights_identity
from pipeline.pairing import check_pairing
from pipeline.processes import share
from pipeline.runs import RunFolder
from pipeline.steps.prepare import Role, TrainingData
from pipeline.students import new_student
from smskd.checkpoint import save_model
from smskd.distillation import train_alone
from smskd.evaluation import evaluate
from smskd.listening import Listener
from smskd.results import METRICS, WEIGHTS

_SEEN_BY = {"student": "preprocessing", "teacher": "teacher_preprocessing"}


def teach(run: RunFolder, data: TrainingData, listener: Listener) -> None:
    """Leave the teacher's weights and what it is worth in the run folder.

    Raises:
        WeightsMismatchError: when given weights are of another architecture or class count.
    """
    recipe = data.file.recipe
    given = recipe.teacher.weights or None
    with run.step("teacher", weights=weights_identity(given)) as step:
        if not step.needed:
            return
        facts = read_facts(run.data)
        size = recipe.data.teacher_image_size
        network = new_network(recipe.teacher.model, facts, recipe.seed, "teacher", size)
        # A student that does not fit is told of now, not after the teacher's training.
        student = new_student(recipe, facts)
        check_pairing(recipe, facts, network, student)
        if given is not None:
            load_weights(given, recipe.teacher.model, network)
            save_model(run.teacher / WEIGHTS, network)
        else:
            train_alone(
                network,
                data.batches(data.splits.train, recipe.seed, "teacher", share()),
                recipe.teacher.training,
                run.teacher,
                validation=data.evaluation(data.splits.validation, "teacher"),
                seed=recipe.seed,
                engine=recipe.engine,
                listener=listener,
            )
        note_network(run, "teacher", recipe.teacher.model, network, data)
        step.products = [
            run.teacher / name for name in (WEIGHTS, METRICS) if (run.teacher / name).exists()
        ]


def note_network(
    run: RunFolder,
    role: Role,
    model: str,
    network: nn.Module,
    data: TrainingData,
    **more: Any,
) -> None:
    """Write into run.json what a network is, what it costs and how well it does on test images.

    Args:
        run: the run folder.
        role: the network's.
        model: its name in the recipe.
        network: with its weights.
        data: with validation and test images.
        more: further facts of it, as JSON values.
    """
    parts = {"test": data.splits.test, "validation": data.splits.validation}
    device = next(network.parameters()).device
    worth: dict[str, Any] = {
        part: evaluate(network, data.evaluation(images, role), device)
        for part, images in parts.items()
    }
    shape = getattr(read_facts(run.data), _SEEN_BY[role])
    images = torch.zeros(1, shape.channels, shape.height, shape.width, device=device)
    networks = run.record().get("networks", {})
    networks[role] = {"model": model, **cost_of(network, images), **worth, **more}
    run.note(networks=networks)
