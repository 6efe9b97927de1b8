"""The loss of a stage: labels, methods and reference together (docs/method.md prints it)."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundation.errors import unknown_name
from smskd.methods import METHODS, Method, Progress, settings_of
from smskd.methods.kd import kd_loss
from smskd.precision import full_precision
from smskd.signals import PairShapes, Signals
from smskd.stage import MethodSpec, Stage
from smskd.weightings import WEIGHTINGS, true_class_probability


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


def make_method(spec: MethodSpec) -> Method:
    """The method that a spec names, with its settings.

    Raises:
        UnknownNameError: when there is no such method, or it has no such setting.
        ValueError: when a setting has an impossible value.
    """
    kind = METHODS.get(spec.name)
    known = [setting.name for setting in settings_of(kind)]
    for name in spec.settings:
        if name not in known:
            raise unknown_name(f"setting of method {spec.name!r}", name, known)
    return kind(**spec.settings)


class Objective(nn.Module):
    """All losses of one stage, by name.

    Args:
        stage: what the stage is made of.
        shapes: what student and teacher say, for building the methods' learnable parts.
            None for a stage without methods.
    """

    def __init__(self, stage: Stage, shapes: PairShapes | None) -> None:
        super().__init__()
        self.stage = stage
        self.methods = nn.ModuleDict()
        self.weights: dict[str, float] = {}
        for spec in stage.method_specs:
            method = make_method(spec)
            assert shapes is not None
            method.build(shapes)
            self.methods[spec.name] = method
            self.weights[spec.name] = method.default_weight if spec.weight is None else spec.weight
        self.weighting = WEIGHTINGS.get(stage.weighting)

    def forward(
        self,
        student: Signals,
        labels: Tensor,
        teacher: Signals | None,
        reference_logits: Tensor | None,
        progress: Progress,
    ) -> dict[str, Tensor]:
        """Weighted losses by name, each a scalar; "loss" is their sum, and what is minimised.

        Args:
            student, teacher: what they say; the teacher is None for a stage without methods.
            labels: shape (N,), int64.
            reference_logits: shape (N, classes), or None in the first stage.
            progress: where the stage stands.
        """
        cross_entropy = F.cross_entropy(full_precision(student.logits), labels)
        losses = {"ce": self.stage.ce_weight * cross_entropy}
        if teacher is not None:
            for name, module in self.methods.items():
                method = cast(Method, module)
                losses[name] = self.weights[name] * method(student, teacher, labels, progress)
        if reference_logits is not None and teacher is not None:
            weights = self.weighting(true_class_probability(teacher.logits, labels))
            losses["reference"] = self.stage.reference_weight * reference_loss(
                student.logits, reference_logits, weights, self.stage.reference_temperature
            )
        losses["loss"] = torch.stack(list(losses.values())).sum()
        return losses
