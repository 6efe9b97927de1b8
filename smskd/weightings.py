"""How strongly each sample holds on to the reference, as a function of the teacher's TCP.

TCP, the true-class probability, is what the teacher gives to a sample's true class; of a sample
without a label, what it gives to the class that it answers. A weighting maps TCP (N,) to weights
(N,).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from foundation.registry import Registry
from smskd.batch import has_label
from smskd.parallel import mean_over_processes
from smskd.precision import full_precision

Weighting = Callable[[Tensor], Tensor]
WEIGHTINGS: Registry[Weighting] = Registry("weighting", "smskd.weightings")


@WEIGHTINGS.register("tcp")
def tcp(probability: Tensor) -> Tensor:
    """Hold on where the teacher is sure of the truth."""
    return probability


@WEIGHTINGS.register("inverse-tcp")
def inverse_tcp(probability: Tensor) -> Tensor:
    """Hold on where the teacher is unsure of the truth."""
    return 1 - probability


@WEIGHTINGS.register("constant")
def constant(probability: Tensor) -> Tensor:
    """Hold on everywhere alike."""
    return torch.ones_like(probability)


@WEIGHTINGS.register("none")
def none(probability: Tensor) -> Tensor:
    """Do not hold on: a stage without a reference."""
    return torch.zeros_like(probability)


def with_mean_one(weights: Tensor) -> Tensor:
    """The weights over their mean in the joint batch of all processes: shape (N,).

    So weightings differ in where they hold on, and not in how strongly. Weights that are all
    nought stay so.

    Args:
        weights: none below 0, shape (N,).
    """
    mean = mean_over_processes(weights.mean())
    return torch.where(mean > 0, weights / torch.where(mean > 0, mean, 1.0), weights)


def true_class_probability(teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """TCP_i = softmax(t(x_i))[y_i]; for a mixed image, the mean over its classes.

    Without a label it is max softmax(t(x_i)): that of the class which the teacher answers.

    Args:
        teacher_logits: shape (N, classes).
        labels: classes, shape (N,), int64; or probabilities of the classes, shape (N, classes); as
            those of a `Batch`.

    Returns:
        Shape (N,), float32 or higher, in 0..1.
    """
    probabilities = full_precision(teacher_logits).softmax(1)
    if labels.dim() == 2:
        of_truth = (probabilities * labels).sum(1)
    else:
        of_truth = probabilities.gather(1, labels.clamp_min(0).unsqueeze(1)).squeeze(1)
    return torch.where(has_label(labels), of_truth, probabilities.amax(1))
