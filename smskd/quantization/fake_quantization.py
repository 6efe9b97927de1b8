"""8-bit numbers inside a float network: the grids, and the modules that round to them.

Activations lie on 256 steps between a low and a high that follow the training batches; weights on
255 steps, symmetric around zero, of one size for each output channel. Rounding passes gradients
straight through, and none where a value lies outside the range.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from smskd.parallel import world_size
from smskd.precision import full_precision

LEVELS, WEIGHT_LIMIT = 255, 127
FOLLOW = 0.05
"""Share of the way that a range moves to a batch's own."""
_SMALLEST_SCALE = 1e-8


class FakeQuantize(nn.Module):
    """Rounds activations to 256 steps; in training the range follows the batches.

    Attributes:
        low, high: the range, scalars; infinite until the first training batch.
    """

    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(torch.inf))
        self.register_buffer("high", torch.tensor(-torch.inf))

    def forward(self, x: Tensor) -> Tensor:
        """The same shape, in float32."""
        x = full_precision(x)
        if self.training:
            self._follow(x.detach())
        scale, zero_point = self.grid()
        return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, LEVELS)

    def grid(self) -> tuple[Tensor, Tensor]:
        """Step (float32) and the step that stands for zero (int32, 0..255); scalars."""
        # Zero must be a step of its own: convolutions pad with it.
        low, high = self.low.clamp(max=0), self.high.clamp(min=0)
        scale = ((high - low) / LEVELS).clamp(min=_SMALLEST_SCALE)
        return scale, (-low / scale).round().clamp(0, LEVELS).to(torch.int32)

    def _follow(self, x: Tensor) -> None:
        low, high = _joint_range(*x.aminmax())
        first = self.low > self.high
        self.low.copy_(torch.where(first, low, self.low.lerp(low, FOLLOW)))
        self.high.copy_(torch.where(first, high, self.high.lerp(high, FOLLOW)))


class FoldedWeights(nn.Module):
    """Weights as a device computes with them: the batch norm behind the layer folded in, rounded.

    The layer's batch-norm statistics stand still, so that what is trained is what ships.

    Args:
        epsilon: of the batch norm; None where there is none.
    """

    def __init__(self, epsilon: float | None = None) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(
        self, weight: Tensor, bias: Tensor | None, *norm: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Rounded weight (out, …) and bias (out,) in float32.

        Args:
            weight, bias: the layer's own.
            norm: the batch norm's weight, bias, running mean and running variance; or nothing.
        """
        weight, bias = self.folded(weight, bias, *norm)
        scale = weight_scale(weight)
        zero_points = torch.zeros_like(scale, dtype=torch.int32)
        limit = WEIGHT_LIMIT
        return (
            torch.fake_quantize_per_channel_affine(weight, scale, zero_points, 0, -limit, limit),
            bias,
        )

    def folded(
        self, weight: Tensor, bias: Tensor | None, *norm: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the one layer that does what layer and batch norm do."""
        if self.epsilon is None:
            return weight, bias
        gain, shift, mean, variance = norm
        assert mean is not None
        assert variance is not None
        factor = (variance + self.epsilon).rsqrt()
        factor = factor if gain is None else factor * gain
        moved = (-mean if bias is None else bias - mean) * factor
        return (
            weight * factor.reshape(-1, *[1] * (weight.dim() - 1)),
            moved if shift is None else moved + shift,
        )


def weight_scale(weight: Tensor) -> Tensor:
    """The step of each output channel, shape (out,), without gradient."""
    largest = weight.detach().abs().flatten(1).amax(1)
    return (largest / WEIGHT_LIMIT).clamp(min=_SMALLEST_SCALE)


def _joint_range(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The range of the joint batch of all processes."""
    if world_size() == 1:
        return low, high
    both = torch.stack([-low, high])
    dist.all_reduce(both, dist.ReduceOp.MAX)
    return -both[0], both[1]
