"""Which operators of a graph stay in floating point, whatever its precision: those that decode and
choose (boxes, scores, non-maximum suppression), where a rounding is no small error any more."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx

from export.formats._graph import MAIN, Graph

_CHOOSING = frozenset({"NonMaxSuppression", "TopK", "NonZero", "RoiAlign", "MaxRoiPool", "ArgMax",
                       "ArgMin", "Unique", "Loop", "Scan", "If"})  # fmt: skip


def floating_operators(onnx_file: Path) -> tuple[str, ...]:
    """Names of the operators that stay in floating point, in their order: all that comes after the
    last convolution or product, and what stands between one and an operator that chooses."""
    graph = Graph(onnx.load(onnx_file, load_external_data=False))
    names = set(graph.operators) - _before_a_product(graph)
    choosing = [name for name, operator in graph.operators.items() if operator.kind in _CHOOSING]
    names |= _back_to_products(graph, choosing)
    return tuple(name for name in graph.operators if name in names)


def _before_a_product(graph: Graph) -> set[str]:
    """The convolutions and products, and all that something of theirs comes from."""
    return set(graph.main()) | _upstream(graph, graph.main(), past_products=True)


def _back_to_products(graph: Graph, names: Iterable[str]) -> set[str]:
    names = list(names)
    return set(names) | _upstream(graph, names, past_products=False)


def _upstream(graph: Graph, names: Iterable[str], *, past_products: bool) -> set[str]:
    """Operators that feed some, directly or not; products are neither taken nor passed unless it is
    asked for."""
    found: set[str] = set()
    queue = list(names)
    for name in queue:  # grows while we go
        for tensor in graph.operators[name].inputs:
            feeder = graph.producers.get(tensor)
            if feeder is None or feeder in found:
                continue
            if not past_products and graph.operators[feeder].kind in MAIN:
                continue
            found.add(feeder)
            queue.append(feeder)
    return found
