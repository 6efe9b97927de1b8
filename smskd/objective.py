"""The loss of a stage: labels, methods and reference together (docs/method.md prints it)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundation.errors import ModelMismatchError, unknown_name
from foundation.labels import UNLABELLED
from smskd.batch import Batch, has_label
from smskd.features.signals import Signals
from smskd.methods import METHODS, Method, Pace, Progress, settings_of
from smskd.methods.kd import kd_loss
from smskd.pair import Pair
from smskd.parallel import mean_over_processes, whole_batch, whole_signals
from smskd.precision import full_precision
from smskd.rare_classes import RareClasses
from smskd.stage import LabelLossName, MethodSpec, Stage
from smskd.weightings import WEIGHTINGS, true_class_probability, with_mean_one

S = TypeVar("S", bound=Stage)

_LABELS_ALONE = 1.0
METHODS_STATE = "methods."
"""What the names of an objective's state begin with that are of its methods' learnt parts."""


@dataclass(frozen=True)
class EarlierMethod:
    """A method of a stage before.

    Attributes:
        spec: its settings and its weight here.
        learned: its parts as that stage left them, by name; None before it was trained.
    """

    spec: MethodSpec
    learned: Mapping[str, Tensor] | None = None


def reference_loss(
    student: Tensor, reference: Tensor, weights: Tensor, temperature: float
) -> Tensor:
    """How far the student has left the reference: mean_i(w_i · τ² · KL(r_i/τ ‖ s_i/τ)), a scalar.

    SMSKD, arXiv 2601.15657: the reference is the frozen student of the stage before.

    Args:
        student, reference: logits, shape (N, classes).
        weights: w_i, shape (N,).
        temperature: τ > 0.
    """
    return (weights * kd_loss(student, reference, temperature)).mean()


def feature_reference_loss(
    student: tuple[Tensor, ...], reference: tuple[Tensor, ...], weights: Tensor
) -> Tensor:
    """How far the student's features have left the reference's: a scalar.

    Σ_taps mean_i(w_i · ‖s_i − r_i‖² / mean ‖r‖²): relative to the size of the reference's own,
    which is that of the joint batch of all processes.

    Args:
        student, reference: features, shape (N, C, H, W) each; of one architecture.
        weights: w_i, shape (N,).
    """
    distances, sizes = [], []
    for student_feature, reference_feature in zip(student, reference, strict=True):
        target = full_precision(reference_feature).flatten(1)
        distance = (full_precision(student_feature).flatten(1) - target).square().mean(1)
        distances.append((weights * distance).mean())
        sizes.append(target.square().mean())
    if not sizes:
        return weights.new_zeros(())
    joint = mean_over_processes(torch.stack(sizes))
    return (torch.stack(distances) / joint.clamp_min(1e-12)).sum()


def label_loss(
    logits: Tensor,
    labels: Tensor,
    kind: LabelLossName,
    smoothing: float,
    weights: Tensor | None = None,
) -> Tensor:
    """How far logits are from the labels: a scalar, the mean over the samples that have one.

    It is 0 where none has.

    Args:
        logits: shape (N, classes).
        labels: classes, shape (N,), or their probabilities, shape (N, classes); as those of a
            `Batch`.
        kind: "ce": the cross-entropy. "bce": that of each class against the rest, meaned over
            samples and classes (Wightman et al. 2021, arXiv 2110.00476).
        smoothing: share of each label that is spread evenly over all classes.
        weights: of each class in "ce", shape (classes,); see `smskd.rare_classes`.
    """
    known = has_label(labels)
    if kind == "ce":
        # Meaned over the images: torch's own mean is over the weights that happen to be in a batch.
        losses = F.cross_entropy(
            logits, labels, weights,
            label_smoothing=smoothing, ignore_index=UNLABELLED, reduction="none",
        )  # fmt: skip
    else:
        classes = logits.shape[1]
        smooth = class_shares(labels, classes).to(logits.dtype) * (1 - smoothing)
        losses = F.binary_cross_entropy_with_logits(
            logits, smooth + smoothing / classes, reduction="none"
        ).mean(1)
    return torch.where(known, losses, 0).sum() / known.sum().clamp_min(1)


def class_shares(labels: Tensor, classes: int) -> Tensor:
    """Labels as probabilities of the classes, shape (N, classes); all 0 where there is none."""
    if labels.dim() == 2:
        return labels
    return F.one_hot(labels.clamp_min(0), classes) * has_label(labels).unsqueeze(1)


def corrected_labels(labels: Tensor, teacher: Tensor, share: float) -> Tensor:
    """Labels that the teacher corrects: (1 − a) · y + a · softmax(t), shape (N, classes).

    So labels that are wrong count less where the teacher sees that they are (Reed et al. 2014,
    arXiv 1412.6596, with the teacher's word for the student's own). Samples without one stay so.

    Args:
        labels: as those of a `Batch`.
        teacher: logits, shape (N, classes).
        share: a, 0..1.
    """
    said = full_precision(teacher).softmax(1)
    mixed = (1 - share) * class_shares(labels, teacher.shape[1]) + share * said
    return torch.where(has_label(labels).unsqueeze(1), mixed, 0)


def make_method(spec: MethodSpec) -> Method:
    """The method that a spec names, with its settings.

    Raises:
        UnknownNameError: when there is no such method, or it has no such setting.
        ValueError: when a setting has an impossible value.
    """
    kind = METHODS.get(spec.name)
    setting_names = [setting.name for setting in settings_of(kind)]
    for name in spec.settings:
        if name not in setting_names:
            raise unknown_name(f"setting of method {spec.name!r}", name, setting_names)
    return kind(**spec.settings)


def spelled_out(stage: S) -> S:
    """The stage with every weight of its loss as a number.

    A method without a weight has its own default. The cross-entropy without one has that which the
    method has beside it in its paper; of several methods the largest: weights such as AT's 1000
    were found beside a cross-entropy of 1, and beside KD's 0.1 would count ten times as much.

    Raises:
        UnknownNameError: when there is no such method.
    """
    specs = stage.method_specs
    kinds = [METHODS.get(spec.name) for spec in specs]
    weighed = tuple(
        replace(spec, weight=kind.default_weight if spec.weight is None else spec.weight)
        for spec, kind in zip(specs, kinds, strict=True)
    )
    ce_weight = stage.ce_weight
    if ce_weight is None:
        ce_weight = max((kind.default_ce_weight for kind in kinds), default=_LABELS_ALONE)
    return replace(stage, methods=weighed, ce_weight=ce_weight)


class Objective(nn.Module):
    """All losses of one stage, by name.

    Attributes:
        stage: with all its weights spelled out.
        methods: by name, those that are carried too.
        specs: what each was made of.
        weights: of the methods, by name.
        ce_weight: of the cross-entropy with the labels.
        holding: the methods by which the reference is held, at rest; empty where the logits do.

    Args:
        stage: what the stage is made of.
        pair: student and teacher, for building the methods' learnable parts.
            None for a stage without methods.
        carried: methods of earlier stages that are kept beside the stage's own.
        held: methods by which the reference is held.
        shares: of each class among the images that are drawn, shape (classes,); what a stage with
            class weights or logit adjustment needs.

    Raises:
        ModelMismatchError: when networks and methods do not go together, or what a method learnt
            does not fit the student any more.
    """

    def __init__(
        self,
        stage: Stage,
        pair: Pair | None,
        carried: Sequence[EarlierMethod] = (),
        held: Sequence[EarlierMethod] = (),
        shares: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.stage = spelled_out(stage)
        self.rare_classes = RareClasses(self.stage, shares)
        self.ce_weight = cast(float, self.stage.ce_weight)
        self.methods, self.holding = nn.ModuleDict(), nn.ModuleDict()
        self.specs: dict[str, MethodSpec] = {}
        self.weights: dict[str, float] = {}
        self.held_weights: dict[str, float] = {}
        for method in (*map(EarlierMethod, self.stage.method_specs), *carried):
            spec = method.spec
            self.methods[spec.name] = self._built(method, pair)
            self.specs[spec.name] = spec
            self.weights[spec.name] = cast(float, spec.weight)
        for method in held:
            self.holding[method.spec.name] = self._built(method, pair)
            self.held_weights[method.spec.name] = cast(float, method.spec.weight)
        self.holding.requires_grad_(False).eval()
        self.weighting = WEIGHTINGS.get(stage.weighting)

    def _built(self, earlier: EarlierMethod, pair: Pair | None) -> Method:
        assert pair is not None
        method = make_method(earlier.spec)
        method.build(pair)
        if earlier.learned is not None:
            try:
                method.load_state_dict(dict(earlier.learned))
            except RuntimeError as error:
                raise ModelMismatchError(
                    f"stage {self.stage.name} has method {earlier.spec.name!r} of an earlier "
                    "stage, but what that learnt does not fit the student any more; leave it out "
                    "of carry and reference_methods"
                ) from error
        return method

    def train(self, mode: bool = True) -> Self:
        """Set the mode; what holds the reference stays at rest."""
        super().train(mode)
        self.holding.eval()
        return self

    def learned(self) -> dict[str, Any]:
        """The learnt parts of its methods, by name."""
        state = self.state_dict()
        return {name: state[name] for name in state if name.startswith(METHODS_STATE)}

    def forward(
        self,
        student: Signals,
        batch: Batch,
        teacher: Signals | None,
        reference: Signals | None,
        progress: Progress,
    ) -> dict[str, Tensor]:
        """Weighted losses by name, each a scalar; "loss" is their sum, and what is minimised.

        Args:
            student, teacher: what they say; the teacher is None for a stage without methods.
            batch: labels, and what else methods want to know of the samples.
            reference: what the reference says, or None in the first stage.
            progress: where the stage stands.
        """
        stage = self.stage
        labels = batch.labels
        if stage.label_correction and teacher is not None:
            labels = corrected_labels(labels, teacher.logits, stage.label_correction)
        of_labels = label_loss(
            self.rare_classes.adjusted(full_precision(student.logits)),
            labels,
            stage.label_loss,
            stage.label_smoothing,
            self.rare_classes.weights,
        )
        losses: dict[str, Tensor] = {stage.label_loss: self.ce_weight * of_labels}
        if teacher is not None:
            losses |= self._method_losses(student, teacher, batch, progress)
        if reference is not None and teacher is not None:
            losses |= self._reference_losses(student, teacher, batch, reference)
        losses["loss"] = torch.stack(list(losses.values())).sum()
        return losses

    def _method_losses(
        self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
    ) -> dict[str, Tensor]:
        losses = {}
        methods = {name: cast(Method, module) for name, module in self.methods.items()}
        joint = None
        if any(method.relates_samples for method in methods.values()):
            joint = whole_signals(student), whole_signals(teacher), whole_batch(batch)
        for name, method in methods.items():
            _check_batch(name, method, batch)
            inputs = joint if joint and method.relates_samples else (student, teacher, batch)
            losses[name] = self.weights[name] * method(*inputs, progress)
        return losses

    def _reference_losses(
        self, student: Signals, teacher: Signals, batch: Batch, reference: Signals
    ) -> dict[str, Tensor]:
        weights = self._held_by(teacher, batch)
        if self.holding:
            losses = self._held_losses(student, teacher, batch, reference)
        else:
            distance = reference_loss(
                student.logits, reference.logits, weights, self.stage.reference_temperature
            )
            losses = {"reference": self.stage.reference_weight * distance}
        if self.stage.reference_feature_weight:
            losses["reference features"] = (
                self.stage.reference_feature_weight
                * feature_reference_loss(student.features, reference.features, weights)
            )
        return losses

    def _held_losses(
        self, student: Signals, teacher: Signals, batch: Batch, reference: Signals
    ) -> dict[str, Tensor]:
        """Of each method that holds the reference, β · λ · mean_i(w_i · L_i), by name."""
        methods = {name: cast(Method, module) for name, module in self.holding.items()}
        here = student, reference, batch, self._held_by(teacher, batch)
        joint = None
        if any(method.relates_samples for method in methods.values()):
            joint_batch = whole_batch(batch)
            weights = self._held_by(whole_signals(Signals(teacher.logits)), joint_batch)
            joint = whole_signals(student), whole_signals(reference), joint_batch, weights
        end = Progress(self.stage.epochs, self.stage.epochs)
        losses = {}
        for name, method in methods.items():
            _check_batch(name, method, batch)
            ours, kept, samples, weights = joint if joint and method.relates_samples else here
            distance = (weights * method.held_losses(ours, kept, samples, end)).mean()
            weight = self.stage.reference_weight * self.held_weights[name]
            losses[f"reference {name}"] = weight * distance
        return losses

    def _held_by(self, teacher: Signals, batch: Batch) -> Tensor:
        """How strongly each sample holds on to the reference: shape (N,)."""
        weights = self.weighting(true_class_probability(teacher.logits, batch.labels))
        return with_mean_one(weights) if self.stage.normalise_weighting else weights

    @property
    def paces(self) -> list[Pace]:
        """The parts of the methods that learn at a pace of their own."""
        methods = [cast(Method, module) for module in self.methods.values()]
        return [pace for method in methods for pace in method.paces()]

    @property
    def folding(self) -> list[Method]:
        """The methods that write what they learnt into the student."""
        methods = [cast(Method, module) for module in self.methods.values()]
        return [method for method in methods if method.folds]

    def after_epoch(self) -> None:
        """Tell every method that an epoch is over."""
        for module in self.methods.values():
            cast(Method, module).after_epoch()


def _check_batch(name: str, method: Method, batch: Batch) -> None:
    if method.needs_labels() and not bool(has_label(batch.labels).all()):
        raise ModelMismatchError(
            f"method {name!r} needs the label of each image, but some have none: choose another "
            "method, or leave these images out"
        )
    if batch.mixed and "class labels" in method.needs:
        raise ModelMismatchError(
            f"method {name!r} needs one true class for each image, but the images are mixed "
            "(MixUp, CutMix): choose another method or do not mix"
        )
    if batch.ids is None and "ids" in method.needs:
        raise ModelMismatchError(
            f"method {name!r} keeps a memory of every sample: batches must be (images, labels, ids)"
        )
