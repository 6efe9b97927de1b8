"""What a model's graph costs to run once: operations and bytes of each operator.

Read with OpenVINO, which takes its own files and ONNX alike. Counted is what a runtime cannot
avoid: convolutions and matrix products, and what moves feature maps (sums of two of them, pools,
joins). What runtimes fold into its neighbour is free: biases, scales, activations, conversions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deploy_targets.estimating.roofline import Work
from foundation.bundle import PICTURE_AXES, Bundle
from foundation.errors import ModelMismatchError

_PRODUCTS = {"Convolution", "GroupConvolution", "MatMul"}
_MOVERS = {
    "Add", "Subtract", "Multiply", "Concat", "MaxPool", "AvgPool", "ReduceMean", "Softmax",
    "Transpose", "VariadicSplit", "Split", "Interpolate", "HSwish", "Swish", "Gelu",
}  # fmt: skip
# What a quantised number passes through before it is used and stays one: scales, and moves.
_SCALING = {
    "Convert", "Subtract", "Multiply", "Reshape", "Transpose", "FakeQuantize", "MaxPool", "Relu",
    "Clamp", "Concat", "VariadicSplit", "Split", "Squeeze", "Unsqueeze",
}  # fmt: skip
_FLOAT_BYTES, _INT8_BYTES = 4, 1


def graph_costs(bundle: Bundle) -> list[Work]:
    """Every operator of a bundle's model that costs something, for one image; errors as
    `operators_in`."""
    high, wide = bundle.manifest.preprocessing.before_the_cut
    of_picture = dict(zip(PICTURE_AXES, (high, wide), strict=True))
    sizes = [1, *(of_picture.get(str(n), n) for n in bundle.manifest.input.shape[1:])]
    return operators_in(bundle.model_path, sizes)


def operators_in(path: Path, sizes: Sequence[int | str]) -> list[Work]:
    """Every operator of a model that costs something.

    Args:
        path: an ONNX file, or OpenVINO's own.
        sizes: of its input, of one image.

    Raises:
        ModelMismatchError: when the model cannot be read, or its sizes are not known.
    """
    import openvino  # noqa: PLC0415 - half a second

    try:
        model = openvino.Core().read_model(str(path))
        if model.inputs[0].partial_shape.is_dynamic:
            model.reshape({model.inputs[0]: list(sizes)})
        graph = _Graph(model)
        return list(graph.work())
    # OpenVINO has exceptions of its own, with nothing in common but this.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelMismatchError(
            f"{path}: its operations cannot be counted ({reason}); measure it instead of estimating"
        ) from error


class _Graph:
    """The graph of a model, and which of its nodes are known before it runs."""

    def __init__(self, model: Any) -> None:
        self._nodes = model.get_ordered_ops()
        self._fixed: set[str] = set()
        for node in self._nodes:
            kind, sources = node.get_type_name(), _sources(node)
            inputs = [source.get_friendly_name() for source in sources]
            if kind in {"Constant", "ShapeOf"} or (
                inputs and all(name in self._fixed for name in inputs)
            ):
                self._fixed.add(node.get_friendly_name())

    def work(self) -> Iterator[Work]:
        for node in self._nodes:
            kind = node.get_type_name()
            if node.get_friendly_name() in self._fixed:
                continue
            if kind in _PRODUCTS:
                yield self._product(node)
            elif kind in _MOVERS and self._moves(node):
                yield self._mover(node)

    def _product(self, node: Any) -> Work:
        kind = node.get_type_name()
        left, weights = (list(port.get_shape()) for port in node.inputs()[:2])
        result = _count(node.output(0).get_shape())
        if kind == "MatMul":
            depth = left[-2] if node.get_attributes()["transpose_a"] else left[-1]
        else:
            # Weights are (groups,) out, in, height, width: all but groups and out are summed over.
            depth = _count(weights[2 if kind == "GroupConvolution" else 1 :])
        low = self._is_int8(node)
        width = _INT8_BYTES if low else _FLOAT_BYTES
        return Work(
            kind=kind,
            macs=result * depth,
            bytes=(_count(left) + result) * width + _count(weights) * _stored_bytes(node),
            precision="int8" if low else "fp32",
        )

    def _mover(self, node: Any) -> Work:
        moving = [port for port in node.inputs() if not self._is_fixed(port)]
        moved = sum(_count(port.get_shape()) for port in moving)
        moved += sum(_count(port.get_shape()) for port in node.outputs())
        low = any(_behind_scaling(_source(port)) == "FakeQuantize" for port in moving)
        return Work(
            kind=node.get_type_name(),
            macs=0,
            bytes=moved * (_INT8_BYTES if low else _FLOAT_BYTES),
            precision="int8" if low else "fp32",
        )

    def _moves(self, node: Any) -> bool:
        """Whether it is about feature maps; arithmetic with a constant is folded into others."""
        moving = [port for port in node.inputs() if not self._is_fixed(port)]
        arithmetic = node.get_type_name() in {"Add", "Subtract", "Multiply"}
        return len(node.output(0).get_shape()) > 2 and (len(moving) > 1 or not arithmetic)

    def _is_fixed(self, port: Any) -> bool:
        return _source(port).get_friendly_name() in self._fixed

    def _is_int8(self, node: Any) -> bool:
        """Whether it multiplies what was quantised by what was quantised."""
        activations, weights = (_source(port) for port in node.inputs()[:2])
        return (
            _behind_scaling(activations) == "FakeQuantize" and _stored_bytes(node) == _INT8_BYTES
        ) or (
            _behind_scaling(activations) == "FakeQuantize"
            and _behind_scaling(weights) == "FakeQuantize"
        )


def _behind_scaling(node: Any) -> str:
    """The kind of the first node, going back, that is no scaling; a FakeQuantize is the end too."""
    kind: str = node.get_type_name()
    while kind in _SCALING and kind != "FakeQuantize":
        node = node.input_value(0).get_node()
        kind = node.get_type_name()
    return kind


def _stored_bytes(node: Any) -> int:
    """How many bytes a number of its weights has in the file."""
    weights = _source(node.inputs()[1])
    while weights.get_type_name() in _SCALING:
        weights = weights.input_value(0).get_node()
    size: int = weights.get_output_element_type(0).size
    return size


def _source(port: Any) -> Any:
    return port.get_source_output().get_node()


def _sources(node: Any) -> list[Any]:
    return [_source(port) for port in node.inputs()]


def _count(sizes: Any) -> int:
    product = 1
    for size in sizes:
        product *= int(size)
    return product
