"""SimKD: the student takes over the teacher's classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foundation.errors import ModelMismatchError
from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import METHODS, Method, Progress
from smskd.pair import Pair
from smskd.precision import full_precision


def simkd_loss(projected: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of what the classifier is to see: shape (N,).

    Chen et al., "Knowledge Distillation with the Reused Teacher Classifier" (2022), L_SimKD.

    Args:
        projected: the student's embedding in the teacher's dimensions, shape (N, D).
        teacher: the teacher's embedding, shape (N, D).
    """
    return (full_precision(projected) - full_precision(teacher)).square().mean(1)


@METHODS.register("simkd")
class SimKD(Method):
    """Reuse of the teacher's classifier behind a learnt linear projector.

    In the paper the projector is convolutional and, like the teacher's classifier, stays in the
    student. Here it is linear, so that after each epoch both fold into the student's own linear
    classifier, W = Wₜ·P and b = Wₜ·p + bₜ: the student's architecture and cost stay as they were.
    The fold replaces what cross-entropy taught the classifier in that epoch. It is affine in the
    projector, so a running mean of projectors folds into the running mean of what they fold into.
    """

    family = "feature"
    paper = "Chen et al. 2022, arXiv 2203.14001"
    formula = "mean((P·s + p − t)²) on embeddings; classifier := teacher's ∘ (P, p)"
    needs = ("embedding", "classifier")
    folds = True
    default_ce_weight = 0.0

    def build(self, pair: Pair) -> None:
        super().build(pair)
        student_classifier, teacher_classifier = pair.student.classifier, pair.teacher.classifier
        assert student_classifier is not None and teacher_classifier is not None
        has_bias = _bias(student_classifier) is not None
        if not has_bias and _bias(teacher_classifier) is not None:
            raise ModelMismatchError(
                f"{type(self).__name__} folds the teacher's classifier into the student's, which "
                "has no bias to take the teacher's; give it one or choose another method"
            )
        self.projector = nn.Linear(
            student_classifier.in_features, teacher_classifier.in_features, has_bias
        )
        # In a tuple, so that the networks' own parameters do not become the method's as well.
        self._classifiers = student_classifier, teacher_classifier

    def forward(
        self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        assert student.embedding is not None and teacher.embedding is not None
        projected = self.projector(full_precision(student.embedding))
        return simkd_loss(projected, teacher.embedding).mean()

    @torch.no_grad()
    def after_epoch(self) -> None:
        """Fold the teacher's classifier and the projector into the student's classifier."""
        student_classifier, teacher_classifier = self._classifiers
        weight = full_precision(teacher_classifier.weight)
        student_classifier.weight.copy_(weight @ self.projector.weight)
        bias, teacher_bias = _bias(student_classifier), _bias(teacher_classifier)
        if bias is not None:
            folded = weight @ self.projector.bias
            bias.copy_(folded if teacher_bias is None else folded + teacher_bias)


def _bias(linear: nn.Linear) -> Tensor | None:
    return linear.bias
