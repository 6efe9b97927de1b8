"""Distillation methods, one a file. Importing a file registers its method.

A method file holds a pure `xxx_loss(...) -> Tensor` and a thin `Method` over it. Its
keyword-only `__init__` parameters are the method's settings; their annotations
and defaults are what recipes are checked against and what `compress methods`
shows.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, get_type_hints

from torch import Tensor, nn

from foundation.errors import ModelMismatchError
from foundation.registry import Registry
from smskd.signals import PairShapes, Signals

METHODS: Registry[type[Method]] = Registry("method", "smskd.methods")
Family = Literal["response", "feature", "relation"]


class Progress(NamedTuple):
    """Where the stage stands, counted from the stage's own start.

    Attributes:
        epoch: epochs finished, with the fraction of the running one: 2.5 is mid-third.
        epochs: how many the stage has.
    """

    epoch: float
    epochs: int


class Method(nn.Module, ABC):
    """One distillation loss, with its learnable parts if it has any.

    Attributes:
        family: what is compared: single responses, features, or relations between samples.
        paper: where it comes from.
        formula: the loss in one line.
        needs_features: whether both networks must have taps.
        default_weight: the loss weight that its paper or the field uses.
    """

    family: ClassVar[Family]
    paper: ClassVar[str]
    formula: ClassVar[str]
    needs_features: ClassVar[bool] = False
    default_weight: ClassVar[float] = 1.0

    def build(self, shapes: PairShapes) -> None:
        """Make what depends on the networks' shapes, such as regressors.

        Raises:
            ModelMismatchError: when student and teacher cannot be matched.
        """
        if self.needs_features and not shapes.student_features:
            raise ModelMismatchError(
                f"{type(self).__name__} compares feature maps, but student and teacher have no "
                "taps in common (feature maps of shape (N, C, H, W)); "
                "name taps yourself or choose a response method such as 'kd'"
            )

    @abstractmethod
    def forward(
        self, student: Signals, teacher: Signals, labels: Tensor, progress: Progress
    ) -> Tensor:
        """The loss: a scalar.

        Args:
            student: what the student says, with gradients.
            teacher: what the teacher says, without.
            labels: true classes, shape (N,), int64.
            progress: where the stage stands.
        """


@dataclass(frozen=True)
class Setting:
    """One setting of a method: its name, type and default."""

    name: str
    type: Any
    default: Any


def settings_of(method: type[Method]) -> list[Setting]:
    """The settings that a method takes, read off its `__init__`."""
    hints = get_type_hints(method.__init__)
    return [
        Setting(name, hints[name], parameter.default)
        for name, parameter in inspect.signature(method.__init__).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
