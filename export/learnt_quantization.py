"""INT8 that was trained with: its weights and ranges are written as they are, not found anew."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from export.formats import ExportFormat, Written
from export.graphs.to_onnx import export_onnx
from export.quantization import QuantizationScheme
from foundation.bundle import Preprocessing
from foundation.errors import ExportError


@dataclass(frozen=True, eq=False)
class LearntQuantization:
    """The integers of a model that was trained with them: s8 weights, with a step a channel.

    Attributes:
        network: from the integers of the activations ("u8" or "s8") to a module for inference
            whose ONNX export holds QuantizeLinear and DequantizeLinear.
        float_network: makes the same network in floating point, with the weights that were trained,
            to hold the integers against; None where there is none.
        origin: where they came from, as plain JSON values; laid over the source's.
    """

    network: Callable[[str], nn.Module]
    origin: dict[str, Any] = field(default_factory=dict)
    float_network: Callable[[], nn.Module] | None = None


def takes_learnt(precision: str, scheme: QuantizationScheme) -> bool:
    """Whether a bundle of this precision and scheme can be made of learnt integers.

    Others are quantised after the training: with 7-bit weights or one step for a whole tensor,
    with ranges that are found at run time, or with operators kept in floating point.
    """
    plain = scheme.method == "static" and not scheme.excluded and not scheme.reduce_range
    return precision == "int8" and plain and scheme.weight_type == "s8" and scheme.per_channel


def write_learnt(
    network: nn.Module,
    preprocessing: Preprocessing,
    export_format: ExportFormat,
    folder: Path,
    *,
    activation_type: str,
    opset: int,
) -> Written:
    """Write a network of integers in a format's own files; every format reads the same graph.

    Args:
        network: what `LearntQuantization.network` gave.
        preprocessing: of the model's input.
        export_format: whose files.
        folder: exists; takes them.
        activation_type: the integers of its activations.
        opset: ONNX operator set to export with.

    Raises:
        ExportError: when the exporter cannot take the network, or there are no integers in it.
    """
    shape = (preprocessing.channels, preprocessing.height, preprocessing.width)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        source = Path(scratch, "learnt.onnx")
        export_onnx(network, torch.zeros(1, *shape), source, opset)
        operators = _rounded_operators(source)
        # The integers are in the graph already, and "fp32" writes a graph as it is.
        no_images = np.empty((0, *shape), np.float32)
        written = export_format.write(source, "fp32", folder, no_images, QuantizationScheme())
    learnt = {
        "method": "learnt",
        "activation_type": activation_type,
        "weight_type": "s8",
        "per_channel": True,
        "reason": "the student was trained with these integers",
        "operators_quantized": operators,
    }
    return replace(written, facts=written.facts | {"quantization": learnt})


def _rounded_operators(path: Path) -> dict[str, int]:
    """How many operators of each kind read integers."""
    nodes = onnx.load(path).graph.node
    rounded = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"}
    kinds = Counter(node.op_type for node in nodes if rounded & set(node.input))
    kinds.pop("QuantizeLinear", None)
    if not kinds:
        raise ExportError(
            "the network that was trained in INT8 exports without integers; "
            "run the stage that quantises again, or export another precision"
        )
    return dict(sorted(kinds.items()))
