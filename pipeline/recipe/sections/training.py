"""Sections that train: methods and stages, the teacher's own training, the engine."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic.dataclasses import dataclass

from deploy_targets.device.options import (
    Batch,
)
from foundation.limits import Within
from pipeline.recipe.sections.values import (
    FROM_SCRATCH,
    STRICT,
    Epochs,
    Fraction,
    NotNegative,
    Positive,
    Rate,
    Share,
    Weight,
)
from smskd.curve import SCHEDULES, schedule_names
from smskd.engine import Engine
from smskd.stage import MethodSpec, Stage, at_default


@dataclass(config=STRICT, frozen=True)
class MethodRecipe(MethodSpec):
    """One method of a stage: `{ name = "at", weight = 500.0, settings = { power = 2.0 } }`."""

    weight: Weight | None = None


def _known_schedule(name: str) -> str:
    if name not in schedule_names():
        raise ValueError(f"must be one of {', '.join(schedule_names())}")
    return name


def _known_curve(name: str) -> str:
    if name not in SCHEDULES.names():
        raise ValueError(f"must be one of {', '.join(SCHEDULES.names())}")
    return name


ScheduleName = Annotated[str, AfterValidator(_known_schedule)]
CurveName = Annotated[str, AfterValidator(_known_curve)]


@dataclass(config=STRICT, frozen=True)
class TrainingRecipe(Stage):
    """Plain training on the labels: the keys of a stage, methods aside."""

    methods: Annotated[tuple[MethodRecipe, ...], Field(max_length=0)] = ()
    epochs: Epochs = 30
    ce_weight: Weight | None = 1.0
    lr: Rate | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Within(0, 1000)] = 5e-4
    norm_weight_decay: Annotated[float, Within(0, 1000)] | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    logit_adjustment: NotNegative | None = None
    label_correction: Annotated[float, Field(ge=0, le=1)] = 0.0
    schedule: ScheduleName | None = "cosine"
    step_epochs: Epochs | None = None
    warmup_epochs: NotNegative | None = None
    hold_epochs: NotNegative | None = None
    warm_lr: Share | None = None
    max_grad_norm: Positive | None = None
    accumulate: Batch = 1


_OF_FINE_TUNING = ("head_epochs", "layer_decay", "patience", "ema_epochs")


@dataclass(config=STRICT, frozen=True)
class TeacherTrainingRecipe(TrainingRecipe):
    """How the teacher is trained: from the beginning, or from weights that others have trained.

    Attributes:
        weights: what it begins with: a library's pretrained weights by name, such as
            "torchvision:DEFAULT" or "timm:pretrained", or a .safetensors or torch checkpoint of its
            model, of whatever classes; its layer for these is made anew. "none", or unset, draws
            all of them from the seed.
        head_epochs: epochs in which the new layer learns alone, before all does.
        head_lr: its learning rate in these, at the peak; unset ten times lr.
        layer_decay: learning rate of each group of layers against the group above it.
        patience: end after so many epochs without a better one on the validation images; 0 does
            not.
        ema_epochs: what is handed on is a running mean of the weights that reaches back about so
            many epochs; 0 is none. ema_decay says it by the step.
    """

    weights: Annotated[str, Field(min_length=1)] | None = None
    head_epochs: Annotated[int, Within(0, 1_000_000)] = 0
    head_lr: Rate | None = None
    layer_decay: Share = 1.0
    patience: Annotated[int, Within(0, 1_000_000)] = 0
    ema_epochs: NotNegative = 0.0

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        of_the_head = self.head_epochs or self.head_lr is not None
        if not self.is_fine_tuning and (of_the_head or self.layer_decay < 1):
            raise ValueError(
                "head_epochs, head_lr and layer_decay are for a network that begins with trained "
                "weights, but there are none; name some with --weights, or leave these out"
            )
        if self.patience and self.keep != "best":
            raise ValueError(
                f"patience = {self.patience} ends the training after the best epoch, but keep = "
                f'"{self.keep}" hands on another; leave keep out'
            )
        if self.ema_decay is not None and self.ema_epochs:
            raise ValueError("ema_epochs and ema_decay say the same thing; leave out one of them")
        return self

    @property
    def is_fine_tuning(self) -> bool:
        """Whether it begins with trained weights."""
        return self.weights not in {None, FROM_SCRATCH}

    @property
    def silent_keys(self) -> frozenset[str]:
        """As of a stage; of a fine-tuning, whose keys have other defaults, all are written down."""
        later = () if self.is_fine_tuning else _OF_FINE_TUNING
        return super().silent_keys | at_default(self, later)


@dataclass(config=STRICT, frozen=True)
class StageRecipe(TrainingRecipe):
    """One stage of the distillation: one method, or a weighted set of methods.

    Attributes:
        prune: share of the student's channels that is taken out before the stage; before the
            first one it is the student's own `prune`.
    """

    methods: Annotated[tuple[MethodRecipe, ...], Field(min_length=1)] = (MethodRecipe("kd"),)
    prune: Fraction | None = None
    epochs: Epochs = 10
    schedule: ScheduleName | None = None
    ce_weight: Weight | None = None
    reference_weight: Weight = 0.1
    reference_temperature: Positive = 4.0
    reference_feature_weight: Weight = 0.0
    carry: Annotated[float, Field(ge=0, le=1)] = 0.0


@dataclass(config=STRICT, frozen=True)
class EngineRecipe(Engine):
    """Device and precision of the training, and where its course is logged.

    Attributes:
        log: write the course of each training, epoch by epoch, for tensorboard, mlflow, or both.
        log_to: where mlflow keeps it: a server's address, or a store's, such as sqlite:///mlflow.db;
            if unset what MLFLOW_TRACKING_URI says, or else logs/mlflow in the run folder.
    """

    log: list[Literal["tensorboard", "mlflow"]] = field(default_factory=list)
    log_to: Annotated[str, Field(min_length=1)] | None = None
