"""What quantising each operator costs in accuracy, and what it gains in time."""

from __future__ import annotations

import math
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.checking.parity import signal_to_noise_db
from export.formats import FORMATS, ExportFormat
from export.formats._graph import Graph
from export.formats._onnx_int8 import quantizer
from export.graphs.batches import batch_of, in_batches_of
from export.quantization import QuantizationScheme

_IMAGES = 32
# What a runtime adds to a name when it fuses, splits or moves an operator.
_ADDED = re.compile(r"(_nchwc|_token_\d+|_QuantizeLinear|_DequantizeLinear|_quant|_dq|_q)+$")


@dataclass(frozen=True)
class OperatorTime:
    """Milliseconds of an operator, with what runtimes fuse into it, at batch 1 on one thread."""

    fp32_ms: float
    int8_ms: float

    @property
    def gain_ms(self) -> float:
        """Time that quantising it saves; less than zero where it is lost."""
        return self.fp32_ms - self.int8_ms


@dataclass(frozen=True)
class OperatorCost:
    """What is known of one operator.

    Attributes:
        operator: its name in the FP32 ONNX graph.
        kind: its type.
        signal_to_noise_db: of the logits, when this operator alone is quantised.
        time: measured on this machine, an estimate for any other; None where the runtime does
            not tell, or counts it to another operator.
        score: share of all operators' error, over the share of the time that it gains; the
            operators with the highest are the first to stay in higher precision.
    """

    operator: str
    kind: str
    signal_to_noise_db: float
    time: OperatorTime | None
    score: float

    def as_dict(self) -> dict[str, Any]:
        """The costs as plain JSON values."""
        return asdict(self)


def rank(
    source: Path,
    images: NDArray[np.float32],
    scheme: QuantizationScheme,
    times: Mapping[str, OperatorTime] | None = None,
    on_operator: Callable[[int, int], None] | None = None,
) -> list[OperatorCost]:
    """Rank the operators of a model, the one that best stays in higher precision first.

    Each is quantised alone, on one calibration for all, and the logits are compared with
    FP32's. So an operator's own error is seen, not what comes in from before. ONNX Runtime's
    quantiser does it for every format: the steps of 8 bits are the same in all of them, though
    what NNCF does around them (smoothing, correcting biases) is not in these figures.

    Args:
        source: FP32 ONNX file.
        images: prepared calibration images, shape (N, C, H, W); the first 32 are used.
        scheme: types and ranges; its `excluded` stay out of the ranking.
        times: from `operator_times`; None ranks by the error alone.
        on_operator: told how many operators are done, of how many.

    Raises:
        ExportError: when nothing can be quantised.
    """
    images = images[:_IMAGES]
    batch, load = batch_of(source), FORMATS.get("onnx")().load

    def logits_of(file: Path) -> NDArray[np.float32]:
        return in_batches_of(load(file), batch)(images)

    reference = logits_of(source)
    decibels: dict[str, float] = {}
    static = replace(scheme, method="static", excluded=())
    with (
        quantizer(source, images, static) as prepared,
        tempfile.TemporaryDirectory() as scratch,
    ):
        graph = prepared.source
        names = [name for name in prepared.candidates() if name not in scheme.excluded]
        written = Path(scratch, "one.onnx")
        for done, name in enumerate(names, start=1):
            model = prepared.quantized_alone(name)
            if model is not None:
                onnx.save(model, written)
                decibels[name] = signal_to_noise_db(reference, logits_of(written))
            if on_operator:
                on_operator(done, len(names))
    scores = _scores(decibels, times or {})
    costs = [
        OperatorCost(name, graph.operators[name].kind, value, (times or {}).get(name), scores[name])
        for name, value in decibels.items()
    ]
    return sorted(costs, key=lambda cost: -cost.score)


def operator_times(
    source: Path,
    fp32_file: Path,
    int8_file: Path,
    format: str,  # noqa: A002 (the manifest's own word)
    image: NDArray[np.float32],
    *,
    runs: int = 100,
) -> dict[str, OperatorTime]:
    """Time of each convolution and product in a written FP32 model and a written INT8 one.

    Runtimes fuse differently in the two, so what follows an operator (activations, sums,
    rounding) counts to it; what comes before the first counts to none. Measured on this
    machine with a profiler running: for other targets an estimate of which operators matter.

    Args:
        source: FP32 ONNX file that both were made from.
        fp32_file, int8_file: the written models.
        format: of both.
        image: one prepared image, shape (1, C, H, W).
        runs: how often each runs, unless that takes more than a few seconds.

    Raises:
        UnknownNameError: when there is no such format.
    """
    graph = Graph(onnx.load(source, load_external_data=False))
    written = FORMATS.get(format)()
    fp32 = _by_anchor(written, fp32_file, graph, image, runs)
    int8 = _by_anchor(written, int8_file, graph, image, runs)
    return {
        name: OperatorTime(fp32[name], int8[name])
        for name in graph.main()
        if name in fp32 and name in int8
    }


def _by_anchor(
    written: ExportFormat, file: Path, graph: Graph, image: NDArray[np.float32], runs: int
) -> dict[str, float]:
    anchors = graph.anchors()
    times: dict[str, float] = defaultdict(float)
    for parts, milliseconds in written.operator_times(file, image, runs).items():
        operators = [operator for part in parts if (operator := _operator(graph, part))]
        anchor = next((anchors[name] for name in operators if name in anchors), None)
        if anchor is not None:
            times[anchor] += milliseconds
    return dict(times)


def _operator(graph: Graph, part: str) -> str | None:
    """The operator that a runtime means by a name: its own, or that of its result."""
    for name in (part, part.split("/", maxsplit=1)[0], _ADDED.sub("", part)):
        if name in graph.operators:
            return name
        if name in graph.producers:
            return graph.producers[name]
    return None


def _scores(decibels: Mapping[str, float], times: Mapping[str, OperatorTime]) -> dict[str, float]:
    """Share of the error over share of the gain, where no gain at all counts as a fair share.

    So noise in the times cannot put an operator forward that costs next to nothing.
    """
    noise = {name: 10 ** (-value / 10) for name, value in decibels.items()}
    noise_sum = math.fsum(noise.values()) or 1.0
    gains = {name: max(0.0, times[name].gain_ms) if name in times else 0.0 for name in noise}
    gain_sum = math.fsum(gains.values()) or 1.0
    fair = 1 / max(1, len(noise))
    return {name: noise[name] / noise_sum / (gains[name] / gain_sum + fair) for name in noise}
