"""The teacher and the student of a run, built from what lies in its folder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from foundation.errors import CompressError, MissingFileError, ModelMismatchError
from pipeline.data.facts import DataFacts, read_facts
from pipeline.models import build_model
from pipeline.runs import RunFolder
from smskd.checkpoint import load_model
from smskd.engine import derive_seed
from smskd.taps import dry_pass
from smskd.training import WEIGHTS


def new_network(model: str, facts: DataFacts, seed: int, role: str) -> nn.Module:
    """A fresh network for the data, its weights drawn from the run's seed and its role.

    Raises:
        ModelMismatchError: when it does not run on images of this size and kind.
    """
    shape = facts.preprocessing
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, role))
        network = build_model(model, len(facts.classes), shape.channels)
    check_runs(network, model, facts)
    return network


def check_runs(network: nn.Module, model: str, facts: DataFacts) -> None:
    """Make sure that a network takes the data's images and knows its classes.

    Raises:
        ModelMismatchError: when it does not.
    """
    shape = facts.preprocessing
    images = torch.zeros(2, shape.channels, shape.height, shape.width)
    try:
        logits = dry_pass(network, images)
    except CompressError:
        raise
    except Exception as error:  # a user's network may fail in any way
        raise ModelMismatchError(
            f"model {model!r} does not run on images of shape {tuple(images.shape[1:])}: "
            f"{str(error).partition(chr(10))[0]}; choose another model or image_size"
        ) from error
    if logits.shape[1] != len(facts.classes):
        raise ModelMismatchError(
            f"model {model!r} gives {logits.shape[1]} logits, but the data has "
            f"{len(facts.classes)} classes"
        )


def trained_teacher(run: RunFolder) -> nn.Module:
    """The run's teacher with its weights."""
    recipe = run.recipe()
    return _trained(run, recipe.teacher.model, run.teacher / WEIGHTS, "teacher")


def trained_student(run: RunFolder) -> nn.Module:
    """The run's student as the last stage left it."""
    return _trained(run, run.recipe().student.model, run.student, "student")


def _trained(run: RunFolder, model: str, weights: Path, role: str) -> nn.Module:
    if not weights.is_file():
        raise MissingFileError(
            f"{weights}: no {role} in this run yet; run `compress distill` for it first"
        )
    network = new_network(model, read_facts(run.data), run.recipe().seed, role)
    load_model(weights, network)
    return network.eval()


def parameter_count(network: nn.Module) -> int:
    """How many numbers a network has learned."""
    return sum(parameter.numel() for parameter in network.parameters())
