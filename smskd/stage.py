"""What a stage is: its methods, its epochs, and how it holds on to the reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from foundation.errors import unknown_name
from smskd.curve import SHARED, leader_of, schedule_names, with_schedules

OptimizerName = Literal["sgd", "adamw", "lamb"]
LabelLossName = Literal["ce", "bce"]
PREVIOUS = "previous"
"""Of `Stage.reference_methods`: those of the stage before."""
MeanStatistics = Literal["student", "anew"]
KeepName = Literal["last", "best"]
QuantizeName = Literal["none", "int8"]
ClassWeightsName = Literal["inverse", "sqrt"]
_POSITIVE = ("lr", "warm_lr", "reference_temperature", "max_grad_norm")
_NOT_NEGATIVE = (
    "ce_weight", "reference_weight", "reference_feature_weight", "momentum", "weight_decay",
    "norm_weight_decay", "warmup_epochs", "hold_epochs", "logit_adjustment",
)  # fmt: skip
_CARRIED = "carried"
_NOT_OF_LOGITS = ("reference_feature_weight", "reference_methods", "carry")
_CHOICES = {
    "optimizer": OptimizerName,
    "label_loss": LabelLossName,
    "class_weights": ClassWeightsName,
    "ema_batch_norm": MeanStatistics,
    "keep": KeepName,
    "quantize": QuantizeName,
}
_UNSET: dict[str, tuple[None]] = {"class_weights": (None,)}
# Keys that came later: where they have their default they say nothing, so that what was trained
# before is gone on with.
_LATER = frozenset({"class_weights", "logit_adjustment", "label_correction", "teacher"})
# What a stage that shares a schedule leaves to the one that named it, and what it is elsewhere.
_OF_THE_CURVE: dict[str, float] = {
    "lr": 0.05, "warmup_epochs": 0.0, "hold_epochs": 0.0, "step_epochs": 30,
}  # fmt: skip


@dataclass(frozen=True)
class MethodSpec:
    """One method of a stage.

    Attributes:
        name: a registered method.
        weight: its share in the loss; None takes the method's own default.
        settings: its keyword settings.
    """

    name: str
    weight: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """One stage of the sequence; with no methods it is plain training on the labels.

    Attributes:
        methods: a method's name, or a weighted set of methods.
        epochs: passes over the training data.
        ce_weight: weight λ_ce of the cross-entropy with the labels; None takes what the methods
            have beside them in their papers, see `smskd.objective.spelled_out`.
        label_loss: what λ_ce weighs: "ce", the cross-entropy, or "bce", that of each class by
            itself, meaned over them.
        label_smoothing: share of each label that is spread evenly over all classes.
        class_weights: how much an image counts in the cross-entropy by how rare its class is among
            the images that are drawn: "inverse" is 1 over its share, "sqrt" 1 over the root of it,
            each 1 on average over the images; None counts all alike.
        logit_adjustment: τ of logit adjustment: the cross-entropy is that of logits to which
            τ · log(share of their class) is added, so that a rare class must win by more; what is
            handed on answers without. 1 is what balanced accuracy asks for; None is none.
        label_correction: share of each label that the teacher's probabilities take the place of,
            where labels may be wrong; 0 believes the labels.
        teacher: of several teachers the one that teaches here, by its name; None takes them all.
        reference_weight: weight β of the reference loss, from the second stage on.
        reference_temperature: τ of the reference loss.
        reference_feature_weight: weight of holding on to the reference's features too.
        reference_methods: what the student holds on to: () is the reference's softened logits;
            "previous" is what the methods of the stage before look at, or methods by name: their
            losses between student and reference, each with its weight, times reference_weight.
        carry: fraction of their weights at which the methods of all stages before are kept on.
        weighting: how TCP weighs the reference loss per sample: a registered weighting.
        normalise_weighting: bring its weights to mean 1 over each batch, so that weightings differ
            in where they hold on, and reference_weight alone says how strongly.
        optimizer, lr, momentum, weight_decay: momentum is SGD's (Nesterov). An lr of None is 0.05.
        norm_weight_decay: of norms and biases, which have one axis; None decays them as the rest.
        schedule: the course of the learning rate, a registered one, after `warmup_epochs` of linear
            rise and `hold_epochs` at the peak; "step" is a tenth of it after each `step_epochs`
            (30), counted from the start, or from the hold's end where there is one;
            "shared" goes on where the stage before stood, on one curve over the epochs of both,
            with its momentum: lr and these epochs are those of the stage that named the curve.
            None is what `smskd.curve.with_schedules` makes of it: shared, where a stage can go on.
        warm_lr: share of lr at which the stage begins, if it is not the first; None takes it all.
        max_grad_norm: clips the joint gradient of student and methods; None leaves it.
        accumulate: batches whose gradients make one optimizer step.
        ema_decay: the stage hands on a running mean of the student's weights, of which each step
            keeps this share; None hands on the weights themselves.
        ema_batch_norm: the running mean's batch-norm statistics: the student's, or estimated anew
            after each epoch by passing up to 100 batches of its training images through the mean.
        keep: which epoch's student the stage hands on: the last, or the best by validation.
        quantize: "int8" trains with 8-bit weights and activations, batch-norm statistics at rest;
            the last stage may, and its methods hear logits alone.

    Raises:
        ValueError: when a value is impossible, or a method stands there twice.
        UnknownNameError: when there is no such optimizer, schedule or epoch to keep.
    """

    methods: str | tuple[MethodSpec, ...] = ()
    epochs: int = 10
    ce_weight: float | None = None
    label_loss: LabelLossName = "ce"
    label_smoothing: float = 0.0
    class_weights: ClassWeightsName | None = None
    logit_adjustment: float | None = None
    label_correction: float = 0.0
    teacher: str | None = None
    reference_weight: float = 0.1
    reference_temperature: float = 4.0
    reference_feature_weight: float = 0.0
    reference_methods: str | tuple[str, ...] = ()
    carry: float = 0.0
    weighting: str = "tcp"
    normalise_weighting: bool = False
    optimizer: OptimizerName = "sgd"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float = 5e-4
    norm_weight_decay: float | None = None
    schedule: str | None = None
    step_epochs: int | None = None
    warmup_epochs: float | None = None
    hold_epochs: float | None = None
    warm_lr: float | None = None
    max_grad_norm: float | None = None
    accumulate: int = 1
    ema_decay: float | None = None
    ema_batch_norm: MeanStatistics = "student"
    keep: KeepName = "last"
    quantize: QuantizeName = "none"

    def __post_init__(self) -> None:
        if isinstance(self.methods, str):
            object.__setattr__(self, "methods", (MethodSpec(self.methods),))
        if isinstance(self.reference_methods, str) and self.reference_methods != PREVIOUS:
            object.__setattr__(self, "reference_methods", (self.reference_methods,))
        self._check_schedule()
        self._check_counts()
        self._check_shares()
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive, but got {name}={value}")
        for name in _NOT_NEGATIVE:
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} must not be negative, but got {name}={value}")
        names = [method.name for method in self.method_specs]
        if len(set(names)) < len(names):
            raise ValueError(f"a stage has each method once, but got methods={names}")
        for name, choice in _CHOICES.items():
            if getattr(self, name) not in (*get_args(choice), *_UNSET.get(name, ())):
                raise unknown_name(name, getattr(self, name), get_args(choice))
        if self.knows_shares and self.label_loss != "ce":
            raise ValueError(
                "class_weights and logit_adjustment are of the cross-entropy, but got label_loss="
                f"{self.label_loss!r}; leave them out, or take ce"
            )
        for name in _NOT_OF_LOGITS if self.quantized else ():
            if getattr(self, name):
                raise ValueError(
                    "a stage that quantises hears logits alone, "
                    f"but got {name}={getattr(self, name)!r}; leave it out"
                )

    def _check_schedule(self) -> None:
        if self.schedule is None:
            return
        if self.schedule not in schedule_names():
            raise unknown_name("schedule", self.schedule, schedule_names())
        if not self.shares_schedule:
            for name, value in _OF_THE_CURVE.items():
                if getattr(self, name) is None:
                    object.__setattr__(self, name, value)
            return
        if self.warm_lr is not None:
            raise ValueError(
                f'schedule = "{SHARED}" goes on at the rate where the stage before stood, but got '
                f"warm_lr={self.warm_lr}; leave out one of them"
            )
        if self.quantized:
            raise ValueError(
                "a stage that quantises trains other weights than the stage before, but got "
                f'schedule = "{SHARED}"; name a schedule of its own'
            )

    def _check_counts(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"a stage has at least one epoch, but got epochs={self.epochs}")
        if self.step_epochs is not None and self.step_epochs < 1:
            raise ValueError(
                f"a step has at least one epoch, but got step_epochs={self.step_epochs}"
            )
        if self.accumulate < 1:
            raise ValueError(
                f"accumulate counts batches from 1, but got accumulate={self.accumulate}"
            )

    def _check_shares(self) -> None:
        if self.warm_lr is not None and self.warm_lr > 1:
            raise ValueError(f"warm_lr is a share of lr, at most 1, but got {self.warm_lr}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(
                f"ema_decay must lie between 0 and 1, but got ema_decay={self.ema_decay}"
            )
        if self.ema_batch_norm == "anew" and (self.ema_decay is None or self.quantized):
            raise ValueError(
                'ema_batch_norm = "anew" is of a running mean of weights in float, but got '
                f"ema_decay={self.ema_decay}, quantize={self.quantize}; leave it out"
            )
        if not 0 <= self.carry <= 1:
            raise ValueError(f"carry must lie from 0 to 1, but got {self.carry}")
        if not 0 <= self.label_correction <= 1:
            raise ValueError(
                "label_correction must lie from 0 to 1, but got "
                f"label_correction={self.label_correction}"
            )
        if self.label_correction and not self.methods:
            raise ValueError(
                "without a teacher nobody corrects the labels, but got "
                f"label_correction={self.label_correction}; leave it out"
            )
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                "label_smoothing must lie from 0 to below 1, but got "
                f"label_smoothing={self.label_smoothing}"
            )

    @property
    def method_specs(self) -> tuple[MethodSpec, ...]:
        """The methods as a set; `methods` may have been given as one name."""
        assert not isinstance(self.methods, str)
        return self.methods

    @property
    def name(self) -> str:
        """The methods' names joined by "+", or "labels" for plain training; what else it does.

        "carried" where methods of earlier stages are kept on, "int8" where it quantises.
        """
        names = [method.name for method in self.method_specs] or ["labels"]
        names += [_CARRIED] if self.carry else []
        return "+".join([*names, self.quantize] if self.quantized else names)

    @property
    def knows_shares(self) -> bool:
        """Whether its loss depends on how many images each class has."""
        return self.class_weights is not None or bool(self.logit_adjustment)

    @property
    def shares_schedule(self) -> bool:
        """Whether the stage goes on where the one before it stood."""
        return self.schedule == SHARED

    @property
    def says_something_of_its_curve(self) -> bool:
        """Whether it has a rate, or epochs of a rise, hold or step, that are its own."""
        return any(getattr(self, name) is not None for name in ("warm_lr", *_OF_THE_CURVE))

    @property
    def quantized(self) -> bool:
        """Whether the student is trained with 8-bit numbers."""
        return self.quantize != "none"

    @property
    def anchored(self) -> bool:
        """Whether the stage holds on to a reference, if there is one."""
        weight = self.reference_weight + self.reference_feature_weight
        return self.weighting != "none" and weight > 0

    @property
    def silent_keys(self) -> frozenset[str]:
        """Keys that came with a later release and have their default: they say nothing."""
        return at_default(self, _LATER)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and for telling one stage from another."""
        silent = self.silent_keys
        return {key: value for key, value in asdict(self).items() if key not in silent}


def at_default(part: Stage, names: Iterable[str]) -> frozenset[str]:
    """Those of some fields of a stage that have their default."""
    defaults = {field.name: field.default for field in fields(part)}
    return frozenset(name for name in names if getattr(part, name) == defaults[name])


def stage_folder(index: int, stage: Stage) -> str:
    """Name of a stage's folder: its place in the sequence and its methods, such as "2-at"."""
    return f"{index}-{stage.name}"


def check_sequence(stages: Sequence[Stage]) -> None:
    """Make sure that stages can follow one another as they do.

    Raises:
        ValueError: when one before the last quantises, for what follows would train float numbers
            again; the first has earlier methods to keep; or a shared schedule is not one.
    """
    stages = with_schedules(stages)
    if stages and stages[0].carry:
        raise ValueError(
            "the first stage has no stage before it whose methods it could keep, but got "
            f"carry = {stages[0].carry}; leave it out there"
        )
    for number, stage in enumerate(stages[:-1], start=1):
        if stage.quantized:
            raise ValueError(
                f"only the last stage can quantise, but stage {number} of {len(stages)} "
                f"({stage.name}) does; put it at the end"
            )
    for place, stage in enumerate(stages):
        if stage.shares_schedule:
            _check_shared(stages, place)


def _check_shared(stages: Sequence[Stage], place: int) -> None:
    leader, stage = leader_of(stages, place), stages[place]
    where = f"stage {place + 1} of {len(stages)} ({stage.name}) shares a schedule"
    for name in _OF_THE_CURVE:
        value, expected = getattr(stage, name), getattr(stages[leader], name)
        if value not in (None, expected):
            raise ValueError(
                f"{where} with stage {leader + 1}, which has {name} = {expected}, but got "
                f"{name} = {value}; leave it out"
            )
    if stages[place - 1].keep == "best":
        raise ValueError(
            f"{where} and goes on from the last epoch before it, but stage {place} has keep = "
            '"best"; leave that out, or let this stage have a schedule of its own'
        )
