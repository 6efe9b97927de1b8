"""What relation methods share: rows without a direction, and projections that keep their digits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smskd.precision import full_precision

# Rows shorter than 1e-12 count as zero, and rows that vary by less than 1e-5 of their length as
# constant: what remains of them is rounding.
_SHORT = 1e-12
_CONSTANT = 1e-5


def unit_rows(rows: Tensor, shortest: Tensor | float = _SHORT) -> Tensor:
    """The rows at length 1; a row that has no length stays zero, and so does its gradient.

    Args:
        rows: shape (N, D).
        shortest: rows up to this length have none; a number, or shape (N, 1).
    """
    squared = rows.square().sum(1, keepdim=True)
    long = squared.detach() > shortest**2
    # The square root has no gradient at zero, so short rows are kept out of it.
    return torch.where(long, rows / torch.where(long, squared, 1.0).sqrt(), 0.0)


def unit_deviations(rows: Tensor) -> Tensor:
    """How each row deviates from its own mean, at length 1; zero for a constant row.

    Args:
        rows: shape (N, D).
    """
    lengths = rows.detach().square().sum(1, keepdim=True).sqrt()
    return unit_rows(rows - rows.mean(1, keepdim=True), (lengths * _CONSTANT).clamp_min(_SHORT))


def inner_products(first: Tensor, second: Tensor) -> Tensor:
    """Every row of the first times every row of the second: shape (N, M), also under autocast.

    Args:
        first, second: shapes (N, D) and (M, D), float32 or higher.
    """
    with torch.autocast(first.device.type, enabled=False):
        return first @ second.T


class Projection(nn.Linear):
    """A linear layer that computes in the precision of its weights, also under autocast."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that nn.Linear gives it
        with torch.autocast(input.device.type, enabled=False):
            return full_precision(super().forward(input.to(self.weight.dtype)))
