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
from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.pair import Pair

METHODS: Registry[type[Method]] = Registry("method", "smskd.methods")
Family = Literal["response", "feature", "relation"]
Need = Literal["features", "embedding", "classifier", "ids", "labels", "class labels"]
_OF_LABELS: frozenset[Need] = frozenset({"labels", "class labels"})


class Progress(NamedTuple):
    """Where the stage stands, counted from the stage's own start.

    Attributes:
        epoch: epochs finished, with the fraction of the running one: 2.5 is mid-third.
        epochs: how many the stage has.
    """

    epoch: float
    epochs: int

    def risen(self, epochs: float) -> float:
        """How far a weight has risen, 0..1: linearly over the stage's first epochs.

        Args:
            epochs: how long the rise takes; never longer than the stage.
        """
        rise = min(epochs, self.epochs)
        return min(self.epoch / rise, 1.0) if rise > 0 else 1.0


class Pace(NamedTuple):
    """Parts of a method that learn at a pace of their own.

    Attributes:
        parameters: all of the method's own.
        rate: their learning rate over the stage's.
        weight_decay: in place of the stage's.
        lr: the peak of their learning rate, whatever the stage's is, whose course it has; None
            takes `rate`.
    """

    parameters: list[nn.Parameter]
    rate: float
    weight_decay: float
    lr: float | None = None

    def share(self, stage_lr: float) -> float:
        """Their learning rate over the stage's.

        Args:
            stage_lr: the peak of the stage's.
        """
        return self.rate if self.lr is None else self.lr / stage_lr


class Method(nn.Module, ABC):
    """One distillation loss, with its learnable parts if it has any.

    Attributes:
        family: what is compared: single responses, features, or relations between samples.
        paper: where it comes from.
        formula: the loss in one line.
        needs: what it needs beside the logits: features at taps; embeddings (what the classifier
            sees); a linear classifier in both networks; ids of the samples and their number;
            labels of all images; one true class for each (so that MixUp and CutMix are out).
        relates_samples: whether samples are compared with one another; such a method is given
            the joint batch of all processes.
        folds: whether `after_epoch` writes what was learnt into the student; where a stage hands
            on a running mean of the student, the method's is taken too and folded into it.
        holds: whether it can hold the reference of a later stage: it gives a loss for each sample
            between two students.
        learns_what_it_holds: whether it compares two students by what it learnt in a stage of its
            own.
        default_weight: the loss weight that its paper or the field uses.
        default_ce_weight: the weight of the cross-entropy beside it there; 0 where it stands alone.
    """

    family: ClassVar[Family]
    paper: ClassVar[str]
    formula: ClassVar[str]
    needs: ClassVar[tuple[Need, ...]] = ()
    relates_samples: ClassVar[bool] = False
    folds: ClassVar[bool] = False
    holds: ClassVar[bool] = False
    learns_what_it_holds: ClassVar[bool] = False
    default_weight: ClassVar[float] = 1.0
    default_ce_weight: ClassVar[float] = 1.0

    @classmethod
    def needs_labels(cls) -> bool:
        """Whether it can do nothing with an image of which nobody says what it shows."""
        return not _OF_LABELS.isdisjoint(cls.needs)

    def build(self, pair: Pair) -> None:
        """Make what depends on the networks, such as regressors. Called once, before training.

        Raises:
            ModelMismatchError: when they lack what the method needs, or cannot be matched.
        """
        lacking = {
            "features": not pair.feature_shapes,
            "embedding": None in (pair.student_shapes.embedding, pair.teacher_shapes.embedding),
            "classifier": None in (pair.student.classifier, pair.teacher.classifier),
            "ids": pair.samples is None,
        }
        for need in self.needs:
            if lacking.get(need):
                raise ModelMismatchError(f"{type(self).__name__} {_LACKING[need]}")

    @abstractmethod
    def forward(
        self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        """The loss: a scalar.

        Args:
            student: what the student says, with gradients.
            teacher: what the teacher says, without.
            batch: the images, labels and ids of the samples.
            progress: where the stage stands.
        """

    def held_losses(
        self, student: Signals, reference: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        """The loss of every sample between the student and its reference: shape (N,).

        Only of a method that `holds`; its learnt parts are at rest.

        Args:
            student: what the student says, with gradients.
            reference: what the frozen student of the stage before says.
            batch: the images, labels and ids of the samples.
            progress: the end of a stage: nothing of the loss is still rising.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot hold a reference")

    def paces(self) -> list[Pace]:
        """The parts that do not learn at the stage's rate and weight decay; asked after `build`."""
        return []

    def after_epoch(self) -> None:
        """Called at the end of every epoch, before the student is validated and saved."""


_LACKING: dict[Need, str] = {
    "features": "compares features, but student and teacher have no taps in common; "
    "name taps yourself or choose a response method such as 'kd'",
    "embedding": "compares embeddings, but a network has neither a last linear layer nor a tap; "
    "name taps yourself or choose a response method such as 'kd'",
    "classifier": "needs the linear layer that makes the logits, but student or teacher ends in "
    "something else; choose another method",
    "ids": "keeps a memory of every sample: batches must be (images, labels, ids), and the loader "
    "must tell how many there are, as `samples` or as the length of its `dataset`",
}


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
