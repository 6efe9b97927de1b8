"""A trained fake-quantised network as one of integers, the way that ONNX writes them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from smskd.quantization.fake_quantization import (
    WEIGHT_LIMIT,
    FakeQuantize,
    FoldedWeights,
    weight_scale,
)

ActivationType = Literal["u8", "s8"]
_OPSET = 13  # the first with a scale for each channel
# An int32 holds twice as much; the products of weights and activations are added to it.
_LARGEST_BIAS = 2**30


class IntegerActivation(nn.Module):
    """Rounds to a fixed grid; in ONNX QuantizeLinear and DequantizeLinear."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, learnt: FakeQuantize, kind: ActivationType) -> None:
        super().__init__()
        scale, zero_point = learnt.grid()
        # The same grid either way: signed numbers begin 128 lower.
        signed = kind == "s8"
        number = (zero_point - 128).to(torch.int8) if signed else zero_point.to(torch.uint8)
        self.limits = (-128, 127) if signed else (0, 255)
        self.register_buffer("scale", scale)
        self.register_buffer("zero_point", number)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        scale, zero = self.scale, self.zero_point
        if torch.onnx.is_in_onnx_export():
            integers = _onnx("QuantizeLinear", (x, scale, zero), zero.dtype, x.shape)
            return _onnx("DequantizeLinear", (integers, scale, zero), torch.float32, x.shape)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero.to(torch.int32), *self.limits)


class IntegerWeights(nn.Module):
    """Weights (int8) and bias (int32) with their steps; in ONNX behind DequantizeLinear."""

    weight: Tensor
    weight_scale: Tensor
    bias: Tensor | None
    bias_scale: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, input_scale: Tensor) -> None:
        super().__init__()
        scale = weight_scale(weight)
        if bias is not None:
            # Where a channel is nearly dead its step is so small that the bias is more steps than
            # an integer holds. Its weights then get a wider one, which costs them nothing seen.
            scale = scale.maximum(bias.detach().abs() / (input_scale * _LARGEST_BIAS))
        steps = (weight / _per_channel(scale, weight)).round()
        self.register_buffer("weight", steps.clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT).to(torch.int8))
        self.register_buffer("weight_scale", scale)
        # An accumulator's own step, so that the bias is added without converting it.
        step = None if bias is None else scale * input_scale
        integer_bias = (
            None if bias is None or step is None else (bias / step).round().to(torch.int32)
        )
        self.register_buffer("bias", integer_bias)
        self.register_buffer("bias_scale", step)

    def forward(self) -> tuple[Tensor, Tensor | None]:
        """Weight (out, …) and bias (out,) in float32."""
        weight = _dequantized(self.weight, self.weight_scale)
        if self.bias is None or self.bias_scale is None:
            return weight, None
        return weight, _dequantized(self.bias, self.bias_scale)


def in_integers(quantized: fx.GraphModule, kind: ActivationType = "u8") -> fx.GraphModule:
    """A copy for inference whose weights and grids are integers.

    Its ONNX export (`torch.onnx.export(..., dynamo=True)`) holds QuantizeLinear and
    DequantizeLinear, int8 weights and int32 biases: a quantised model as ONNX Runtime's own
    quantiser would write it. Called in torch it computes the same in float.

    Args:
        quantized: what `fake_quantized` made, trained.
        kind: the integers of the activations; the values that they stand for are the same.
    """
    copy = deepcopy(quantized).cpu().eval()
    modules = dict(copy.named_modules())
    with torch.no_grad():
        for node in list(copy.graph.nodes):
            folded_weights = modules.get(str(node.target)) if node.op == "call_module" else None
            if isinstance(folded_weights, FoldedWeights):
                arguments = [_value(copy, argument) for argument in node.args]
                scale = _grid_before(_layer_of(node), modules)
                weight, bias = folded_weights.folded(*arguments)
                copy.set_submodule(str(node.target), IntegerWeights(weight, bias, scale))
                node.args = ()
        for name, module in modules.items():
            if isinstance(module, FakeQuantize):
                copy.set_submodule(name, IntegerActivation(module, kind))
    copy.graph.eliminate_dead_code()
    copy.delete_all_unused_submodules()
    copy.recompile()
    return fx.GraphModule(copy, copy.graph)


def _layer_of(weights: fx.Node) -> fx.Node:
    """The layer that reads these weights."""
    return next(iter(next(iter(weights.users)).users))


def _grid_before(layer: fx.Node, modules: dict[str, nn.Module]) -> Tensor:
    assert isinstance(layer.args[0], fx.Node)
    reads = modules[str(layer.args[0].target)]
    assert isinstance(reads, FakeQuantize)
    return reads.grid()[0]


def _value(module: nn.Module, node: Any) -> Any:
    if not isinstance(node, fx.Node):
        return node
    owner, _, name = str(node.target).rpartition(".")
    return getattr(module.get_submodule(owner), name)


def _dequantized(integers: Tensor, scale: Tensor) -> Tensor:
    if torch.onnx.is_in_onnx_export():
        zeros = torch.zeros_like(scale, dtype=integers.dtype)
        inputs = (integers, scale, zeros)
        return _onnx("DequantizeLinear", inputs, torch.float32, integers.shape, axis=0)
    return integers.to(torch.float32) * _per_channel(scale, integers)


def _per_channel(scale: Tensor, tensor: Tensor) -> Tensor:
    return scale.reshape(-1, *[1] * (tensor.dim() - 1))


def _onnx(
    name: str, inputs: Sequence[Tensor], dtype: torch.dtype, shape: torch.Size, **attributes: int
) -> Tensor:
    return torch.onnx.ops.symbolic(
        name, list(inputs), dict(attributes), dtype=dtype, shape=shape, version=_OPSET
    )
