"""Where a stage stood at the end of an epoch, as one file: all that the next epoch depends on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from foundation.errors import CorruptFileError, WeightsMismatchError
from foundation.records import build
from foundation.sense import at_least
from smskd.checkpoints.files import load_tensors, save_tensors


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


@dataclass(frozen=True)
class ResumeFacts:
    """What stands beside the tensors of a `ResumeState` in its file.

    Attributes:
        fingerprint: of the job.
        scaler: the state of fp16's gradient scaler; empty without one.
    """

    epoch: int
    history: list[dict[str, Any]]
    fingerprint: str
    scaler: dict[str, Any]

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(0, epoch=self.epoch)


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

    State that was written by a stage with other settings is passed over. All is checked before
    anything is put back, so state that is refused leaves the stage as it was.

    Raises:
        CorruptFileError: when the file's content changed, or is not a whole state.
        WeightsMismatchError: when it is of another network.
    """
    if not path.exists():
        return None
    tensors, facts = load_tensors(path)
    if facts.get("fingerprint") != fingerprint:
        return None
    weights = {n.removeprefix("step."): t for n, t in tensors.items() if n.startswith("step.")}
    misfit = _misfit(step.state_dict(), weights)
    if misfit:
        raise WeightsMismatchError(
            f"{path}: the state of another network ({misfit}); "
            "choose another folder, or delete this file to begin the stage anew"
        )
    try:
        stored = build(ResumeFacts, facts)
        moments = _moments(tensors, optimizer)
        scales = _scales(stored.scaler, scaler)
    except (KeyError, ValueError, TypeError) as error:
        raise CorruptFileError(
            f"{path}: not a whole state of a stage ({error}); delete it to begin the stage anew"
        ) from error
    step.load_state_dict(weights)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    if scaler is not None and scales:
        scaler.load_state_dict(scales)
    return ResumeState(stored.epoch, stored.history)


def _misfit(expected: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> str | None:
    """The first difference of names or shapes, in words; None when there is none."""
    for name in expected:
        if name not in stored:
            return f"{name} is missing there"
        stored_shape, expected_shape = tuple(stored[name].shape), tuple(expected[name].shape)
        if stored_shape != expected_shape:
            return f"size mismatch for {name}: {stored_shape} there, {expected_shape} here"
    unknown = next((name for name in stored if name not in expected), None)
    return f"{unknown} is not known here" if unknown else None


def _moments(
    tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[int, dict[str, Tensor]]:
    """The optimizer's state by parameter.

    Raises:
        ValueError: when it is not of the optimizer's parameters.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if not name.startswith("optimizer."):
            continue
        _, index, key = name.split(".", 2)
        # A moment has its parameter's shape, a count of steps has none.
        if int(index) not in range(len(parameters)) or tensor.shape not in (
            (),
            parameters[int(index)].shape,
        ):
            raise ValueError(f"{name} fits no parameter")
        moments.setdefault(int(index), {})[key] = laid_out_as(parameters[int(index)], tensor)
    return moments


def laid_out_as(parameter: Tensor, moment: Tensor) -> Tensor:
    """A moment in its parameter's memory layout; a file keeps none.

    In another the sums over it, such as LAMB's norms, would have other last digits.
    """
    if moment.shape != parameter.shape:
        return moment
    return torch.empty_like(parameter, dtype=moment.dtype).copy_(moment)


def _scales(saved: dict[str, Any], scaler: Scaler | None) -> dict[str, Any]:
    """The gradient scaler's state; empty when it was saved without one.

    Raises:
        ValueError: when something in it is missing or not known.
    """
    if scaler is not None and saved and saved.keys() != scaler.state_dict().keys():
        raise ValueError(f"the gradient scaler's state has {sorted(saved)}")
    return saved
