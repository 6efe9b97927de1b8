"""Where does a written model part from the FP32 graph? Tensor by tensor, in order of execution."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.formats import FORMATS
from export.formats._graph import MAIN, Graph

# How far a tensor may be off, as a share of its own root mean square. INT8 errors of many layers
# add up to a tenth or two; a broken operator makes an error as large as the tensor.
_TOLERANCES = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 1e-1, "int8": 0.3}
_JUMP = 2.0
_IMAGES = 4
_CHUNK_BYTES = 384 * 2**20
# Of a large network fewer images are compared, and its tensors for as long as this at most.
_BYTES = 4 * _CHUNK_BYTES
_SECONDS = 60.0


@dataclass(frozen=True)
class LayerError:
    """One tensor of the FP32 graph in the written model.

    Attributes:
        operator: the operator that makes it in the FP32 graph.
        kind: that operator's type.
        tensor: its name.
        relative_error: root mean square of the difference, as a share of the tensor's own.
    """

    operator: str
    kind: str
    tensor: str
    relative_error: float


@dataclass(frozen=True)
class LayerReport:
    """How the tensors of a written model differ from the FP32 graph's.

    Attributes:
        layers: the tensors that both have, in order of execution.
        first: where the error first jumps above `tolerance` for good, or None. Its operator is
            the convolution or product to blame where that is fused with what follows.
        tolerance: what the precision is allowed.
        precision: the written model's.
        compared_to: the last operator that was compared, where time ran out before the end.
        seconds: the time that there was.
    """

    layers: list[LayerError]
    first: LayerError | None
    tolerance: float
    precision: str
    compared_to: str | None = None
    seconds: float = _SECONDS

    @property
    def line(self) -> str:
        """One sentence for an error message."""
        if self.compared_to is None:
            return self._finding
        return f"{self._finding}; compared for {self.seconds:g} s, up to {self.compared_to!r}"

    @property
    def _finding(self) -> str:
        if not self.layers:
            return "no tensor of the FP32 graph is left in the written model to compare"
        if self.first is None:
            within = [layer for layer in self.layers if layer.relative_error <= self.tolerance]
            worst = max(within or self.layers, key=lambda layer: layer.relative_error)
            return (
                f"no operator parts from the FP32 ONNX graph by more than {self.tolerance:g} "
                f"(the most is {worst.relative_error:.1e} at {worst.operator!r})"
            )
        return (
            f"the outputs first part at {self.first.kind} {self.first.operator!r}: its result is "
            f"off by {self.first.relative_error:.1e} of its size, {self.precision} is allowed "
            f"{self.tolerance:g}"
        )

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self) | {"line": self.line}


def first_divergence(
    reference_onnx: Path,
    model_file: Path,
    format: str,  # noqa: A002 (the manifest's own word)
    images: NDArray[np.float32],
    precision: str | None = None,
    *,
    unprepared: NDArray[np.uint8] | None = None,
    seconds: float | None = None,
) -> LayerReport:
    """Compare a written model with the FP32 ONNX file that it was made from, layer by layer.

    Both run with nothing fused away that has a name, and only as many tensors at once as
    fit into a few hundred megabytes a model. It takes about a minute at most, in which the first
    operators are compared.

    Args:
        reference_onnx: the FP32 file.
        model_file: the written model.
        format: of the written model.
        images: prepared images, shape (N, C, H, W); the first few are used.
        precision: of the written model; None: what its operators and weights look like.
        unprepared: the same images, uint8 (N, H, W, C), for a written model that prepares them
            itself.
        seconds: that it may take; None for a minute.

    Raises:
        UnknownNameError: when there is no such format.
    """
    seconds = _SECONDS if seconds is None else seconds
    written = FORMATS.get(format)()
    graph, sizes, batch = _read_graph(reference_onnx)
    count = batch or min(_IMAGES, max(1, _BYTES // max(1, sum(sizes.values()))))
    images, inputs = images[:count], (images if unprepared is None else unprepared)[:count]
    reader = FORMATS.get("onnx")()
    errors: dict[str, float] = {}
    compared_to, end = None, time.monotonic() + seconds
    for names in _tensor_chunks(graph, sizes, len(images)):
        if errors and time.monotonic() > end:
            compared_to = graph.producers[list(errors)[-1]]
            break
        values = written.read_tensors(model_file, names, inputs)
        if not values:
            continue
        for name, expected in reader.read_tensors(reference_onnx, list(values), images).items():
            if expected.dtype == np.float32 and expected.shape == values[name].shape:
                errors[name] = _relative_error(expected, values[name])
    layers = [
        LayerError(operator.name, operator.kind, tensor, errors[tensor])
        for operator in graph.operators.values()
        for tensor in operator.outputs
        if tensor in errors
    ]
    precision = precision or written.precision_of(model_file)
    tolerance = _TOLERANCES.get(precision, _TOLERANCES["int8"])
    first = _first_bad_layer(graph, layers, errors, tolerance)
    return LayerReport(layers, first, tolerance, precision, compared_to, seconds)


def _first_bad_layer(
    graph: Graph, layers: Sequence[LayerError], errors: dict[str, float], tolerance: float
) -> LayerError | None:
    """The first tensor above the tolerance for good that is far worse than what it is made from.

    Errors that only add up have no such place: then the first above the tolerance.
    """
    lasting = _lasting_errors(graph, errors, tolerance)
    above = [layer for layer in layers if layer.tensor in lasting]
    for layer in above:
        feeding = [errors[name] for name in _compared_inputs(graph, layer.operator, errors)]
        if not layer.relative_error <= _JUMP * max(feeding, default=0.0):
            return _blamed_layer(graph, layer, errors)
    return _blamed_layer(graph, above[0], errors) if above else None


def _lasting_errors(graph: Graph, errors: dict[str, float], tolerance: float) -> set[str]:
    """Tensors above the tolerance from which a way leads to an output through nothing below it.

    An error that is gone in all that is made of the tensor was none: a runtime may keep
    something else, or nothing, under the name of a tensor that it does not need.
    """
    lasting: set[str] = set()
    for operator in reversed(graph.operators.values()):
        for tensor in operator.outputs:
            behind = [
                output
                for consumer in graph.consumers[tensor]
                for output in graph.operators[consumer].outputs
            ]
            if (tensor not in errors or not errors[tensor] <= tolerance) and (
                not behind or lasting & set(behind)
            ):
                lasting.add(tensor)
    return lasting & set(errors)


def _compared_inputs(graph: Graph, operator: str, errors: dict[str, float]) -> Iterator[str]:
    """The nearest tensors upstream that were compared."""
    for name in graph.operators[operator].inputs:
        if name in errors:
            yield name
        elif name in graph.producers:
            yield from _compared_inputs(graph, graph.producers[name], errors)


def _blamed_layer(graph: Graph, layer: LayerError, errors: dict[str, float]) -> LayerError:
    """The layer, or the convolution or product that was fused with it and left no tensor."""
    queue = [layer.operator]
    for name in queue:
        operator = graph.operators[name]
        if operator.kind in MAIN:
            return LayerError(name, operator.kind, layer.tensor, layer.relative_error)
        queue += [
            graph.producers[tensor]
            for tensor in operator.inputs
            if tensor in graph.producers and tensor not in errors
        ]
    return layer


def _relative_error(expected: NDArray[np.float32], actual: NDArray[np.float32]) -> float:
    """The error's share of the tensor; 1e9 for what is not a number, so that JSON can hold it."""
    difference = actual.astype(np.float64) - expected
    size = math.sqrt(float(np.square(expected, dtype=np.float64).mean())) if expected.size else 0.0
    error = math.sqrt(float(np.square(difference).mean())) if expected.size else 0.0
    if not math.isfinite(error):
        return 1e9
    return min(1e9, error / max(size, float(np.finfo(np.float32).tiny)))


def _read_graph(file: Path) -> tuple[Graph, dict[str, int], int | None]:
    """The graph of an ONNX file, bytes of its tensors for one image, and its fixed batch if any."""
    model = onnx.load(file)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    sizes = {
        value.name: 4 * math.prod(dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim)
        for value in (*inferred.value_info, *inferred.output)
        if value.type.tensor_type.HasField("shape")
    }
    return Graph(model), sizes, model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or None


def _tensor_chunks(graph: Graph, sizes: dict[str, int], images: int) -> Iterator[list[str]]:
    """Tensors in order of execution, a few at a time, so that their values fit into memory."""
    chunk: list[str] = []
    total = 0
    for operator in graph.operators.values():
        for tensor in operator.outputs:
            size = images * sizes[tensor] if tensor in sizes else _CHUNK_BYTES // 16
            if chunk and total + size > _CHUNK_BYTES:
                yield chunk
                chunk, total = [], 0
            chunk.append(tensor)
            total += size
    if chunk:
        yield chunk
