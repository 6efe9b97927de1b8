"""An FP32 ONNX graph as its operators and tensors: what the formats' own graphs are mapped onto."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import onnx

from foundation.errors import ExportError, nearest

MAIN = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""The operators that hold nearly all arithmetic, and that INT8 is for."""

_BETWEEN_PRODUCTS = MAIN | {"LayerNormalization"}


@dataclass(frozen=True)
class Operator:
    """A node; `inputs` leaves out constants and what is absent."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Graph:
    """The main graph of an ONNX model.

    Attributes:
        operators: by name, in the order of execution; a node without a name goes by its output's.
        producers: the operator's name, by tensor.
        consumers: operators' names, by tensor.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        constants = {entry.name for entry in model.graph.initializer}
        constants |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
        self.operators: dict[str, Operator] = {}
        self.producers: dict[str, str] = {}
        self.consumers: dict[str, list[str]] = defaultdict(list)
        for node in model.graph.node:
            if node.op_type == "Constant":
                continue
            inputs = tuple(name for name in node.input if name and name not in constants)
            outputs = tuple(name for name in node.output if name)
            operator = Operator(name_of(node), node.op_type, inputs, outputs)
            self.operators[operator.name] = operator
            self.producers |= dict.fromkeys(outputs, operator.name)
            for tensor in inputs:
                self.consumers[tensor].append(operator.name)

    def check(self, names: Iterable[str]) -> None:
        """Make sure that operators exist.

        Raises:
            ExportError: when one does not.
        """
        for name in names:
            if name not in self.operators:
                close = nearest(name, self.operators)
                hint = f"; did you mean {close!r}?" if close else ""
                raise ExportError(
                    f"the graph has no operator {name!r} to keep in higher precision{hint} "
                    "Names are those of the nodes of the FP32 ONNX file"
                )

    def main(self) -> list[str]:
        """Names of the convolutions and matrix products."""
        return [operator.name for operator in self.operators.values() if operator.kind in MAIN]

    def has_attention(self) -> bool:
        """Whether a Softmax stands between two matrix products of activations."""
        return any(
            self._reaches_product(operator.outputs)
            for operator in self.operators.values()
            if operator.kind == "Softmax" and self._comes_from_product(operator.inputs)
        )

    def anchors(self) -> dict[str, str]:
        """For each operator the convolution or product that it follows: itself, if it is one.

        Runtimes fuse what follows into it, each in its own way, so times are only comparable
        when they are added up by these. What comes before the first has none.
        """
        anchors: dict[str, str] = {}
        order = {name: position for position, name in enumerate(self.operators)}
        for operator in self.operators.values():
            if operator.kind in MAIN:
                anchors[operator.name] = operator.name
                continue
            before = [
                self.producers[tensor] for tensor in operator.inputs if tensor in self.producers
            ]
            above = [anchors[name] for name in before if name in anchors]
            if above:
                anchors[operator.name] = max(above, key=order.__getitem__)
        return anchors

    def surviving(self, name: str, tensors: Collection[str]) -> str | None:
        """The first tensor at or behind an operator that is among `tensors`.

        An optimiser that fuses operators keeps the last one's output.
        """
        for operator in self._downstream(name):
            for tensor in operator.outputs:
                if tensor in tensors:
                    return tensor
        return None

    def _downstream(self, name: str) -> Iterator[Operator]:
        """Breadth first, `name` itself included."""
        queue, seen = [name], {name}
        for current in queue:  # grows while we go
            operator = self.operators[current]
            yield operator
            for tensor in operator.outputs:
                new = [name for name in self.consumers[tensor] if name not in seen]
                seen.update(new)
                queue += new

    def _reaches_product(self, tensors: Iterable[str]) -> bool:
        names = [name for tensor in tensors for name in self.consumers[tensor]]
        return any(
            len(self.operators[name].inputs) > 1
            if self.operators[name].kind == "MatMul"
            else self.operators[name].kind not in _BETWEEN_PRODUCTS
            and self._reaches_product(self.operators[name].outputs)
            for name in names
        )

    def _comes_from_product(self, tensors: Iterable[str]) -> bool:
        names = [self.producers[tensor] for tensor in tensors if tensor in self.producers]
        return any(
            len(self.operators[name].inputs) > 1
            if self.operators[name].kind == "MatMul"
            else self.operators[name].kind not in _BETWEEN_PRODUCTS
            and self._comes_from_product(self.operators[name].inputs)
            for name in names
        )


def name_of(node: onnx.NodeProto) -> str:
    """A node's name; the name of its first output if it has none."""
    return str(node.name or node.output[0])
