"""Which parts of a network learn in a training, at which share of its rate, and when it is over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

HEAD, ALL = "head", "all"


@dataclass(frozen=True)
class TuningPhase:
    """What a training does otherwise than all at one rate for all of its epochs.

    Attributes:
        name: what the training is called: "head", or "all".
        learns: names of the submodules that learn; all else keeps its weights and batch-norm
            statistics to the bit. Empty where everything learns.
        rates: share of the stage's learning rate by a parameter's name; 1 where it is left out.
        patience: the training is over once so many epochs in a row were no better on the
            validation images than the best before them; 0 goes on to the end.
    """

    name: str = ALL
    learns: tuple[str, ...] = ()
    rates: Mapping[str, float] = field(default_factory=dict)
    patience: int = 0

    def __post_init__(self) -> None:
        if self.patience < 0:
            raise ValueError(f"patience counts epochs, but got patience={self.patience}")

    def rest(self, model: nn.Module) -> None:
        """Bring what does not learn into evaluation mode, in a network in training mode."""
        for name, module in model.named_modules() if self.learns else ():
            if not is_in(name, self.learns):
                module.training = False

    def is_over(self, history: Sequence[Mapping[str, Any]], best: int) -> bool:
        """Whether the training has waited long enough.

        Args:
            history: one record an epoch.
            best: the best epoch of it, from 1.
        """
        return bool(self.patience and history) and len(history) - best >= self.patience

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for telling one training from another."""
        return asdict(self)


@contextmanager
def only_learning(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Let the parameters of some submodules alone learn for the time of the block.

    Args:
        model: the network.
        names: of the submodules; none changes nothing.
    """
    others = [
        parameter
        for name, parameter in model.named_parameters()
        if names and parameter.requires_grad and not is_in(name, names)
    ]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


def is_in(name: str, modules: Sequence[str]) -> bool:
    """Whether a module, parameter or buffer of that name is one of some submodules, or in one."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)
