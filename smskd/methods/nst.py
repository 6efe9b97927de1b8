"""NST: the student's channels select the same places as the teacher's, as a distribution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from smskd.methods import METHODS, Progress
from smskd.methods._features import FeatureMethod, to_coarser
from smskd.precision import full_precision

# A channel shorter than this counts as at rest; the direction of less is noise.
_SHORTEST = 1e-6


def nst_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of the two sets of channels: shape (N,).

    Huang and Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer" (2017),
    its MMD² with the polynomial kernel k(x, y) = (xᵀy)², on channels of unit length.

    Args:
        student, teacher: features, shape (N, C, H, W); C may differ, and the finer one is
            averaged down to the coarser one's H and W.
    """
    student_map, teacher_map = to_coarser(full_precision(student), full_precision(teacher))
    student_channels, teacher_channels = _unit_channels(student_map), _unit_channels(teacher_map)
    student_count, places = student_channels.shape[1:]
    teacher_count = teacher_channels.shape[1]
    by_channels = student_count**2 + teacher_count**2 + student_count * teacher_count
    # Autocast would take the products in half precision.
    with torch.autocast(student.device.type, enabled=False):
        if places**2 <= by_channels:
            return _by_places(student_channels, teacher_channels)
        return (
            _kernel(student_channels, student_channels)
            + _kernel(teacher_channels, teacher_channels)
            - 2 * _kernel(student_channels, teacher_channels)
        )


def _unit_channels(feature: Tensor) -> Tensor:
    return F.normalize(feature.flatten(2), dim=2, eps=_SHORTEST)


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    """Mean over all pairs of channels of the squared product, through a (C, C') matrix."""
    return torch.bmm(first, second.transpose(1, 2)).square().mean((1, 2))


def _by_places(first: Tensor, second: Tensor) -> Tensor:
    """The same discrepancy through two (H·W, H·W) matrices: ‖XᵀX / C − YᵀY / C'‖²."""
    grams = [
        torch.bmm(channels.transpose(1, 2), channels) / channels.shape[1]
        for channels in (first, second)
    ]
    return (grams[0] - grams[1]).square().sum((1, 2))


@METHODS.register("nst")
class NST(FeatureMethod):
    """Neuron selectivity transfer with the polynomial kernel, summed over all tap pairs."""

    paper = "Huang and Wang 2017, arXiv 1707.01219"
    formula = (
        "Σ_taps mean k(s, s) + mean k(t, t) − 2 · mean k(s, t), k(x, y) = (xᵀy)², over channels"
    )
    holds = True
    default_weight = 50.0

    def tap_loss(self, place: int, student: Tensor, teacher: Tensor, progress: Progress) -> Tensor:
        return nst_loss(student, teacher)
