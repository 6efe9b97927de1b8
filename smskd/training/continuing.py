"""What a stage leaves for the next one on its schedule: all that training as one would go on with.

Beside the student that it hands on: the weights as they were last, their running mean, the parts
that methods learn, and the optimizer's state, by parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foundation.errors import CorruptFileError, ModelMismatchError
from foundation.records import build
from smskd.checkpoints.files import load_tensors, save_tensors
from smskd.objective import Objective
from smskd.training.resuming import Scaler, laid_out_as
from smskd.training.train_step import TrainStep

_STUDENT, _MEAN, _METHOD = "student.", "mean.", "objective.methods."
_MOMENT = "optimizer"


@dataclass(frozen=True)
class ContinuationFacts:
    """What stands beside the tensors.

    Attributes:
        optimizer: its name.
        methods: name and settings of each, as plain values.
        scaler: the state of fp16's gradient scaler; empty without one.
    """

    optimizer: str
    methods: dict[str, Any]
    scaler: dict[str, Any]


def save_continuation(
    path: Path, step: TrainStep, optimizer: torch.optim.Optimizer, scaler: Scaler | None = None
) -> None:
    """Write where a stage ended, by the names of its parts."""
    names, stage = _names_by_index(step, optimizer), step.objective.stage
    tensors = {f"step.{name}": tensor for name, tensor in step.state_dict().items()}
    for index, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            if value is not None:
                tensors[f"{_MOMENT}.{key}.{names[index]}"] = torch.as_tensor(value)
    save_tensors(
        path,
        tensors,
        optimizer=stage.optimizer,
        methods=_settings(step.objective),
        scaler=scaler.state_dict() if scaler else {},
    )


def load_continuation(
    path: Path, step: TrainStep, optimizer: torch.optim.Optimizer, scaler: Scaler | None = None
) -> None:
    """Put a fresh stage where the one before it ended.

    The student goes on from its last weights, beside their running mean, where both stages keep
    one, and else from what was handed on. A method that both have goes on with what it learnt. The
    optimizer's state goes on where both have the same optimizer.

    Raises:
        CorruptFileError: when the file's content changed, or is not whole.
        ModelMismatchError: when the student has other shapes now.
    """
    tensors, written = load_tensors(path)
    try:
        facts = build(ContinuationFacts, written)
    except (ValueError, TypeError) as error:
        raise CorruptFileError(
            f"{path}: not where a stage ended ({error}); delete the stage's folder to train it "
            "again"
        ) from error
    before = _under("step.", tensors)
    kept = _going_on(before, step, facts)
    _check_shapes(kept, step, path)
    step.load_state_dict(kept, strict=False)
    if facts.optimizer == step.objective.stage.optimizer:
        moments = _moments(tensors, step, optimizer, kept)
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": moments, "param_groups": groups})
    if scaler is not None and facts.scaler.keys() == scaler.state_dict().keys():
        scaler.load_state_dict(facts.scaler)


def _going_on(
    before: Mapping[str, Tensor], step: TrainStep, facts: ContinuationFacts
) -> dict[str, Tensor]:
    """Which parts of the stage before this one goes on with."""
    same = [
        name for name, spec in _settings(step.objective).items() if facts.methods.get(name) == spec
    ]
    prefixes = [f"{_METHOD}{name}." for name in same]
    had_mean = any(name.startswith(_MEAN) for name in before)
    if step.mean is not None and had_mean:
        # Behind the student's come those of methods that fold into it, numbered from 1.
        all_same = len(same) == len(step.objective.methods) == len(facts.methods)
        prefixes += [_MEAN] if all_same else [f"{_MEAN}module.0.", f"{_MEAN}n_averaged"]
    if step.mean is not None or not had_mean:
        prefixes.append(_STUDENT)
    return {name: tensor for name, tensor in before.items() if name.startswith(tuple(prefixes))}


def _check_shapes(kept: Mapping[str, Tensor], step: TrainStep, path: Path) -> None:
    here = step.state_dict()
    for name, tensor in kept.items():
        if name not in here or here[name].shape != tensor.shape:
            shape = tuple(here[name].shape) if name in here else "nothing"
            raise ModelMismatchError(
                f"stage {step.objective.stage.name} shares a schedule with the one before, but "
                f"{name} has shape {tuple(tensor.shape)} in {path} and {shape} here; let it have a "
                "schedule of its own"
            )


def _moments(
    tensors: Mapping[str, Tensor],
    step: TrainStep,
    optimizer: torch.optim.Optimizer,
    kept: Mapping[str, Tensor],
) -> dict[int, dict[str, Tensor]]:
    """The optimizer's state by parameter, of the student and of methods that go on."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    indices = {
        name: index
        for index, name in _names_by_index(step, optimizer).items()
        if name in kept or name.startswith(_STUDENT)
    }
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under(f"{_MOMENT}.", tensors).items():
        key, _, parameter = name.partition(".")
        index = indices.get(parameter)
        # A moment has its parameter's shape, a count of steps has none.
        if index is not None and tensor.shape in ((), parameters[index].shape):
            moments.setdefault(index, {})[key] = laid_out_as(parameters[index], tensor)
    return moments


def _names_by_index(step: TrainStep, optimizer: torch.optim.Optimizer) -> dict[int, str]:
    """Names of the parameters, by their place in the optimizer's state."""
    names = {id(parameter): name for name, parameter in step.named_parameters()}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {index: names[id(parameter)] for index, parameter in enumerate(parameters)}


def _settings(objective: Objective) -> dict[str, Any]:
    """Each method with what it is built by; tuples are lists there as they are in JSON."""
    return {
        spec.name: {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in spec.settings.items()
        }
        for spec in objective.specs.values()
    }


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
