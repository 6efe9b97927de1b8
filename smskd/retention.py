"""How much of a stage is left after later ones: the retention matrix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from smskd.batch import Batch, Batches, as_batch
from smskd.checkpoints.files import load_model, load_tensors
from smskd.engine import Engine
from smskd.evaluation import evaluate
from smskd.features.taps import TappedModel, evaluating
from smskd.methods import Method, Progress
from smskd.objective import Objective
from smskd.pair import Pair
from smskd.stage import Stage, stage_folder
from smskd.training.stage_files import METHOD, WEIGHTS


def retention_matrix(
    pair: Pair,
    stages: Sequence[Stage],
    folder: Path,
    batches: Batches,
    engine: Engine | None = None,
) -> dict[str, Any]:
    """Each stage's own distillation loss, and the accuracy, after it and after every later stage.

    The learnable parts of a stage's methods are those that it ended with. A method that keeps a
    memory of its training samples cannot be measured on others; its stage has no losses.

    Args:
        pair: student and teacher as they were distilled; the student is left alone.
        stages: what was done.
        folder: where `distill` left its subfolders.
        batches: held-out (images, labels).
        engine: where to measure, which is where the teacher then lies; weights and sums are fp32.

    Returns:
        "stages": names; "loss": a row a stage, a column for each stage after which it was
        measured, None before its own; "top1": accuracy after each stage.
    """
    names = [stage_folder(*numbered) for numbered in enumerate(stages, start=1)]
    engine = engine or Engine()
    device = engine.fabric().device
    pair = replace(pair, student=_copy_of(pair.student))
    for tapped in (pair.student, pair.teacher):
        engine.place(tapped.model, device)
    objectives = [
        _objective(stage, pair, folder / name).to(device)
        for stage, name in zip(stages, names, strict=True)
    ]
    placed = _Placed(batches, engine, device)
    loss: list[list[float | None]] = [[None] * len(stages) for _ in stages]
    top1 = []
    for after, name in enumerate(names):
        load_model(folder / name / WEIGHTS, pair.student.model)
        top1.append(evaluate(pair.student.model, placed, device)["top1"])
        measured = _losses(objectives[: after + 1], pair, placed)
        for row, value in enumerate(measured):
            loss[row][after] = value
    return {"stages": names, "loss": loss, "top1": top1}


class _Placed:
    """Batches on the engine's device."""

    def __init__(self, batches: Batches, engine: Engine, device: torch.device) -> None:
        self.batches, self.engine, self.device = batches, engine, device

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            yield self.engine.place_batch(as_batch(batch), self.device)


def _copy_of(tapped: TappedModel) -> TappedModel:
    return TappedModel(deepcopy(tapped.model), tapped.taps, tapped.classifier_name)


def _objective(stage: Stage, pair: Pair, folder: Path) -> Objective:
    with torch.random.fork_rng():
        objective = Objective(stage, pair)
    if (folder / METHOD).exists():
        # Methods of earlier stages that it kept are theirs to be measured by.
        learned = load_tensors(folder / METHOD)[0]
        own = objective.state_dict().keys()
        objective.load_state_dict({name: learned[name] for name in learned if name in own})
    return objective.eval()


def _losses(
    objectives: Sequence[Objective], pair: Pair, batches: Iterable[Batch]
) -> list[float | None]:
    totals = [0.0] * len(objectives)
    images = 0
    with (
        evaluating(pair.student.model),
        evaluating(pair.teacher.model),
        torch.random.fork_rng(),
        torch.no_grad(),
    ):
        # Methods that draw at random draw alike each time they are measured.
        torch.manual_seed(0)
        for batch in batches:
            student, teacher = pair.student(batch.images), pair.teacher(batch.seen_by_teacher)
            for place, objective in enumerate(objectives):
                progress = Progress(objective.stage.epochs, objective.stage.epochs)
                for name, module in _measurable(objective).items():
                    value = module(student, teacher, batch, progress)
                    totals[place] += objective.weights[name] * value.item() * len(batch.labels)
            images += len(batch.labels)
    return [
        total / images if _measurable(objective) else None
        for total, objective in zip(totals, objectives, strict=True)
    ]


def _measurable(objective: Objective) -> dict[str, Method]:
    modules = cast(dict[str, nn.Module], dict(objective.methods.items()))
    methods = {name: cast(Method, module) for name, module in modules.items()}
    return {} if any("ids" in method.needs for method in methods.values()) else methods
