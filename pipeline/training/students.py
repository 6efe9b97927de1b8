"""The student of a run before its training: fresh, or without the channels that were pruned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foundation.errors import ModelMismatchError
from pipeline.data.facts import DataFacts
from pipeline.models.pruned_form import read_form, reform, write_form
from pipeline.models.pruning import Order, made_from, prune
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.folder import RunFolder, Say, to_nobody
from pipeline.run_folder.torchrun import leads, wait_for_all
from pipeline.training.foreign_models import is_graph
from pipeline.training.networks import NetworkSpec, form_paths, load_weights_for, new_network
from smskd.checkpoints.foreign import Loaded
from smskd.engine import derive_seed


def new_student(recipe: Recipe, facts: DataFacts) -> nn.Module:
    """A fresh student as the first stage gets it, pruned if the recipe says so.

    Raises:
        ModelMismatchError: when it does not run on the data's images, or cannot be pruned.
    """
    student, _ = unpruned_student(recipe, facts)
    prune_in_place(student, recipe, facts, 1)
    return student


def unpruned_student(
    recipe: Recipe, facts: DataFacts, say: Say = to_nobody
) -> tuple[nn.Module, Loaded]:
    """A student with its first weights, drawn from the seed or those that the recipe names.

    Args:
        recipe: the recipe.
        facts: what the data is.
        say: told what was decided about it that nobody asked for.

    Returns:
        The student, and what else a checkpoint told of it.

    Raises:
        ModelMismatchError: when it does not run on the data's images, or is an ONNX file.
        WeightsMismatchError: when the weights are of another architecture or class count.
    """
    spec = NetworkSpec.of(recipe.student)
    if is_graph(spec.model):
        raise ModelMismatchError(
            f"{spec.model}: an ONNX file cannot be trained; name its network as student.model and "
            "its weights as student.weights"
        )
    student = new_network(spec, facts, recipe.seed, "student", say=say)
    return student, load_weights_for(spec, student, facts.classes, say)


def prune_in_place(student: nn.Module, recipe: Recipe, facts: DataFacts, number: int) -> bool:
    """Prune a student as the recipe says for before a stage, counted from 1; tells if it does.

    Raises:
        ModelMismatchError: when it cannot be pruned.
    """
    order = _order(recipe, number)
    if order is not None:
        reform(student, prune(student, _images(facts), order), recipe.student.model)
    return order is not None


def prune_once(run: RunFolder, facts: DataFacts, number: int, student: nn.Module) -> None:
    """The same in a run: what was pruned is written down, and read back when the run goes on.

    Raises:
        ModelMismatchError: when it cannot be pruned.
        NoSpaceError: when the disk is full.
    """
    recipe = run.recipe()
    order = _order(recipe, number)
    if order is None:
        return
    path = form_paths(run)[number]
    if leads() and not _is_made_from(path, student, order):
        write_form(path, prune(student, _images(facts), order))
    wait_for_all()
    reform(student, read_form(path), str(path))


def _order(recipe: Recipe, number: int) -> Order | None:
    section, share = recipe.student, recipe.pruned_before(number)
    if share is None:
        return None
    seed = derive_seed(recipe.seed, "prune", number)
    return Order(share, section.prune_importance, section.prune_multiple, seed)


def _is_made_from(path: Path, student: nn.Module, order: Order) -> bool:
    if not path.exists():
        return False
    return bool(read_form(path).facts.get("made_from") == made_from(student, order))


def pruning_records(run: RunFolder) -> list[dict[str, Any]]:
    """What each pruning of a run took away, as JSON values: cost and channels, before and after."""
    forms = {number: read_form(path) for number, path in form_paths(run).items()}
    keys = ("before", "after", "channels")
    return [
        {"before_stage": number, **{name: form.facts[name] for name in keys}}
        for number, form in forms.items()
    ]


def _images(facts: DataFacts) -> Tensor:
    shape = facts.preprocessing
    return torch.zeros(2, shape.channels, shape.height, shape.width)
