"""A teacher that begins with trained weights: they are read, and its head is made anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from foundation.errors import ModelMismatchError, WeightsMismatchError
from pipeline.data.facts import DataFacts
from pipeline.recipe.noted import NotedNetwork
from pipeline.recipe.sections.training import TeacherTrainingRecipe
from pipeline.recipe.sections.values import FROM_SCRATCH
from pipeline.run_folder.folder import Say
from pipeline.training.heads import blank_images, fit_head, logit_count
from pipeline.training.networks import (
    NetworkSpec,
    built_network,
    load_weights,
    remark_on_unstored_settings,
)
from pipeline.training.one_schedule import library_stage
from smskd.fine_tuning.head import find_head
from smskd.fine_tuning.phase import is_in
from smskd.fine_tuning.phases import FineTuning
from smskd.stage import Stage

_ROLE = "teacher"


@dataclass(frozen=True)
class Begun:
    """A network as its training begins.

    Attributes:
        network: with its weights.
        head: names of the layers that make its logits; empty where nothing of it was trained yet.
    """

    network: nn.Module
    head: tuple[str, ...] = ()


def begin_with_weights(spec: NetworkSpec, facts: DataFacts, seed: int, say: Say) -> Begun:
    """A network with trained weights, whose head is fresh where these are of other classes.

    Args:
        spec: the network, and the weights that it begins with.
        facts: what the data is.
        seed: the run's; it draws the head.
        say: told which layer is new.

    Raises:
        MissingFileError: when there are no such weights, and none can be fetched.
        WeightsMismatchError: when they are not of this network, its head aside.
        ModelMismatchError: when no layer is found that gives the logits.
    """
    images, classes = blank_images(facts, _ROLE), list(facts.classes)
    trained = built_network(spec, facts, len(classes), seed, _ROLE, say=say)
    reading = replace(spec, weights=spec.begins_with)
    try:
        loaded = load_weights(reading, trained, say)
    except WeightsMismatchError as error:
        if error.known_classes is None:
            raise
        trained = built_network(spec, facts, error.known_classes, seed, _ROLE)
        loaded = load_weights(reading, trained, say)
    remark_on_unstored_settings(trained, reading, _ROLE, say)
    count = logit_count(trained, spec.model, images)
    if loaded.classes == tuple(classes) and count == len(classes):
        name = find_head(trained, images, spec.head)
        say(f"{spec.begins_with}: knows these {count} classes; its head {name} is kept")
        return Begun(trained, (name,))
    begun = _with_factory_head(spec, facts, seed, trained) or _with_own_head(
        spec, facts, seed, trained
    )
    say(
        f"{spec.model}: {_listed(begun.head)} is new, for {len(classes)} classes where "
        f"{spec.begins_with} have {count}; all else begins with these weights"
    )
    return begun


def _with_factory_head(
    spec: NetworkSpec, facts: DataFacts, seed: int, trained: nn.Module
) -> Begun | None:
    """The network as its factory makes it for the data's classes, all but the head from another
    with trained weights; None where the factory makes one of other classes."""
    images, classes = blank_images(facts, _ROLE), len(facts.classes)
    network = built_network(spec, facts, classes, seed, _ROLE)
    if logit_count(network, spec.model, images) != classes:
        return None
    fresh, known = network.state_dict(), trained.state_dict()
    reshaped = [n for n in fresh if n not in known or fresh[n].shape != known[n].shape]
    heads = list(dict.fromkeys(name.rpartition(".")[0] for name in reshaped))
    if spec.head is not None or not heads:
        heads = list(dict.fromkeys([*heads, find_head(network, images, spec.head)]))
    _check_heads(heads, fresh, known, spec)
    network.load_state_dict({n: fresh[n] if is_in(n, heads) else known[n] for n in fresh})
    return Begun(network, tuple(heads))


def _check_heads(
    heads: list[str], fresh: Mapping[str, Tensor], known: Mapping[str, Tensor], spec: NetworkSpec
) -> None:
    if "" in heads or fresh.keys() != known.keys():
        raise ModelMismatchError(
            f"model {spec.model!r}: for another number of classes its factory makes a network in "
            "which more than a layer at the end is another, so trained weights cannot be carried "
            "over; take a model that keeps its classes in its last layer"
        )


def _with_own_head(spec: NetworkSpec, facts: DataFacts, seed: int, trained: nn.Module) -> Begun:
    """The network with trained weights, with a fresh layer where it had its last one."""
    name = fit_head(trained, spec.model, facts, seed, _ROLE, head=spec.head)
    return Begun(trained, (name or find_head(trained, blank_images(facts, _ROLE), spec.head),))


def tuning_of(training: TeacherTrainingRecipe, head: tuple[str, ...]) -> FineTuning | None:
    """What a training does beside going through its epochs; None of a plain one."""
    if not (training.is_fine_tuning or training.patience):
        return None
    return FineTuning(
        head, training.head_epochs, training.head_lr, training.layer_decay, training.patience
    )


def stage_of(training: TeacherTrainingRecipe, batches: int) -> Stage:
    """A teacher's training as the library's, with its running mean of weights told by the step.

    Args:
        training: as the recipe has it.
        batches: of an epoch.
    """
    stage = library_stage(training)
    if training.ema_decay is not None or not training.ema_epochs:
        return stage
    steps = training.ema_epochs * max(1, batches // training.accumulate)
    # A mean over less than two steps is none.
    return stage if steps < 2 else replace(stage, ema_decay=1 - 1 / steps)


def note_of(spec: NetworkSpec, facts: DataFacts, head: tuple[str, ...] = ()) -> Mapping[str, Any]:
    """What the file of a teacher's weights carries, so that it can be named alone.

    Args:
        spec: the teacher.
        facts: what the data is.
        head: the layers that make its logits.
    """
    return NotedNetwork(
        spec.model,
        list(facts.classes),
        facts.teacher_preprocessing,
        dict(spec.all_settings),
        spec.head or (head[0] if len(head) == 1 else None),
    ).as_facts()


def remark_on_beginning(training: TeacherTrainingRecipe, model: str, say: Say) -> None:
    """Say that a teacher is trained from the beginning, where somebody might take it for more."""
    if training.weights == FROM_SCRATCH:
        say(
            f"{model}: begins with weights drawn at random (weights = none); this is no "
            "fine-tuning, and takes many more images and epochs to be as good"
        )


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(names)
