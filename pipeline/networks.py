"""The teacher and the student of a run, built from what lies in its folder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from foundation.errors import (
    CompressError,
    MissingFileError,
    ModelMismatchError,
    nearest,
    unknown_name,
)
from foundation.files import sha256_of
from pipeline.data.facts import DataFacts, read_facts
from pipeline.forms import PRUNED, read_form, reform
from pipeline.models import LIBRARIES, build_model, names_weights, pretrained_tensors
from pipeline.runs import RunFolder
from smskd.checkpoint import load_model
from smskd.distillation import stage_folder
from smskd.engine import derive_seed
from smskd.foreign import load_state
from smskd.results import WEIGHTS
from smskd.taps import dry_pass


def new_network(
    model: str, facts: DataFacts, seed: int, role: str, image_size: int | None = None
) -> nn.Module:
    """A fresh network for the data, its weights drawn from the run's seed and its role.

    Args:
        model: its name in the recipe.
        facts: what the data is.
        seed: the run's seed.
        role: "teacher" or "student".
        image_size: height and width of what it sees; None takes the data's.

    Raises:
        ModelMismatchError: when it does not run on images of this size and kind.
    """
    shape = facts.preprocessing
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, role))
        network = build_model(model, len(facts.classes), shape.channels)
    check_runs(network, model, facts, image_size)
    return network


def check_runs(
    network: nn.Module, model: str, facts: DataFacts, image_size: int | None = None
) -> None:
    """Make sure that a network takes the data's images and knows its classes.

    Raises:
        ModelMismatchError: when it does not.
    """
    shape = facts.preprocessing
    height, width = (image_size, image_size) if image_size else (shape.height, shape.width)
    images = torch.zeros(2, shape.channels, height, width)
    try:
        logits = dry_pass(network, images)
    except CompressError:
        raise
    except Exception as error:  # a user's network may fail in any way
        raise ModelMismatchError(
            f"model {model!r} does not run on images of shape {tuple(images.shape[1:])}: "
            f"{str(error).partition(chr(10))[0]}; set data.image_size (a teacher's own: "
            "data.teacher_image_size) to what it takes, or choose another model"
        ) from error
    if logits.shape[1] != len(facts.classes):
        raise ModelMismatchError(
            f"model {model!r} gives {logits.shape[1]} logits, but the data has "
            f"{len(facts.classes)} classes"
        )


def load_weights(given: str, model: str, network: nn.Module) -> None:
    """Read weights from elsewhere into a network, all or nothing.

    Args:
        given: a .safetensors or torch checkpoint, or a library's pretrained weights by name:
            "torchvision:IMAGENET1K_V1", "timm:pretrained".
        model: the network's name in the recipe.
        network: the network.

    Raises:
        MissingFileError: when there is no such file, and none can be fetched.
        UnknownNameError: when there is no such library, or it has no such weights.
        WeightsMismatchError: when they are of another architecture or class count.
        CorruptFileError: when a file cannot be read, or holds code.
    """
    library = given.partition(":")[0]
    if names_weights(given):
        load_state(network, pretrained_tensors(given, model), given)
    elif library != given and nearest(library, LIBRARIES.names()) and not Path(given).exists():
        raise unknown_name("model library", library, LIBRARIES.names(), f"weights {given!r}")
    else:
        load_model(Path(given), network)


def weights_identity(given: str | None) -> str | None:
    """What a step that uses weights depends on: a file's SHA-256, or pretrained weights' name."""
    if given is None or names_weights(given):
        return given
    return sha256_of(Path(given)) if Path(given).is_file() else None


def trained_teacher(run: RunFolder) -> nn.Module:
    """The run's teacher with its weights."""
    recipe = run.recipe()
    teacher = _new_before_weights(run, "teacher", recipe.teacher.model, run.teacher / WEIGHTS)
    load_model(run.teacher / WEIGHTS, teacher)
    return teacher.eval()


def trained_student(run: RunFolder) -> nn.Module:
    """The run's student as the last stage left it, in the form that pruning gave it."""
    student = _new_before_weights(run, "student", run.recipe().student.model, run.student)
    for path in form_paths(run).values():
        reform(student, read_form(path), str(path))
    load_model(run.student, student)
    return student.eval()


def form_paths(run: RunFolder) -> dict[int, Path]:
    """Where the student lies as pruning left it, by the number of the stage that follows."""
    recipe = run.recipe()
    numbered = enumerate(recipe.stages, start=1)
    return {
        number: run.stages / stage_folder(number, stage) / PRUNED
        for number, stage in numbered
        if recipe.pruned_before(number) is not None
    }


def _new_before_weights(run: RunFolder, role: str, model: str, weights: Path) -> nn.Module:
    if not weights.is_file():
        raise MissingFileError(
            f"{weights}: no {role} in this run yet; run `compress distill` for it first"
        )
    recipe = run.recipe()
    size = recipe.data.teacher_image_size if role == "teacher" else None
    return new_network(model, read_facts(run.data), recipe.seed, role, size)
