"""Where a stage stood at the end of an epoch, as one file: all that the next epoch depends on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from foundation.errors import WeightsMismatchError
from smskd.checkpoint import load_tensors, save_tensors


class Scaler(Protocol):
    """The gradient scaler of fp16 training."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


@dataclass
class ResumeState:
    """Where a stage stood at the end of an epoch.

    Attributes:
        epoch: epochs finished.
        history: one record an epoch.
    """

    epoch: int
    history: list[dict[str, Any]]


def save_resume(
    path: Path,
    step: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: ResumeState,
    *,
    fingerprint: str,
    scaler: Scaler | None = None,
) -> None:
    """Write all that the next epoch depends on."""
    tensors = {f"step.{name}": tensor for name, tensor in step.state_dict().items()}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if value is not None:
                tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value)
    save_tensors(
        path,
        tensors,
        epoch=state.epoch,
        history=state.history,
        fingerprint=fingerprint,
        scaler=scaler.state_dict() if scaler else {},
    )


def load_resume(
    path: Path,
    step: nn.Module,
    optimizer: torch.optim.Optimizer,
    fingerprint: str,
    scaler: Scaler | None = None,
) -> ResumeState | None:
    """Put a stage back to where it stood; None when there is nothing to resume from.

    State that was written by a stage with other settings is passed over.

    Raises:
        CorruptFileError: when the file's content changed.
        WeightsMismatchError: when it is of another network.
    """
    if not path.exists():
        return None
    tensors, facts = load_tensors(path)
    if facts.get("fingerprint") != fingerprint:
        return None
    weights = {n.removeprefix("step."): t for n, t in tensors.items() if n.startswith("step.")}
    try:
        step.load_state_dict(weights)
    except RuntimeError as error:
        raise WeightsMismatchError(
            f"{path}: the state of another network ({str(error).splitlines()[-1].strip()}); "
            "choose another folder, or delete this file to begin the stage anew"
        ) from error
    per_parameter: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            per_parameter.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": per_parameter, "param_groups": groups})
    if scaler is not None and facts.get("scaler"):
        scaler.load_state_dict(facts["scaler"])
    return ResumeState(facts["epoch"], facts["history"])
