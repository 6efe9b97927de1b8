"""Teacher: trained on all of the training data, or taken from given weights."""

from __future__ import annotations

from typing import Any

from torch import nn

from pipeline.data.facts import read_facts
from pipeline.networks import load_weights, new_network, parameter_count, weights_identity
from pipeline.pairing import check_pairing
from pipeline.processes import share
from pipeline.runs import RunFolder
from pipeline.steps.prepare import Role, TrainingData
from smskd.checkpoint import save_model
from smskd.distillation import train_alone
from smskd.evaluation import evaluate
from smskd.listening import Listener
from smskd.results import METRICS, WEIGHTS


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
        student = new_network(recipe.student.model, facts, recipe.seed, "student")
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
    run: RunFolder, role: Role, model: str, network: nn.Module, data: TrainingData
) -> None:
    """Write into run.json what a network is and how well it does on the test images."""
    parts = {"test": data.splits.test, "validation": data.splits.validation}
    device = next(network.parameters()).device
    worth: dict[str, Any] = {
        part: evaluate(network, data.evaluation(images, role), device)
        for part, images in parts.items()
    }
    networks = run.record().get("networks", {})
    networks[role] = {"model": model, "parameters": parameter_count(network), **worth}
    run.note(networks=networks)
