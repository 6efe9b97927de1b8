"""What is asked of this room for a graph that is no classifier; `export.requests` has the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.formats import FORMATS
from export.requests import BundleRequest, bundle_name
from export.runtimes import check_opset
from export.samples import GraphSamples, Scorer
from foundation.bundle import TensorSpec
from foundation.errors import ExportError, UsageError, unknown_name
from foundation.graph_bundle import Outputs

ROLE = "student"


@dataclass(frozen=True)
class Scoring:
    """How a user says what a graph is worth.

    Attributes:
        name: "package.module:function".
        score: it.
        samples: those that it scores.
    """

    name: str
    score: Scorer
    samples: GraphSamples


@dataclass(frozen=True, eq=False)
class GraphSource:
    """A graph, and the samples that its export needs.

    Attributes:
        model: an ONNX file, adapted by `export.graphs.any_graph.as_one_graph`.
        inputs, outputs: what it takes and gives.
        calibration: samples that set the INT8 ranges; may be empty without INT8.
        probe: samples that parity is checked on and the bundle carries.
        reference: what the user's own file gave for the probe, by output.
        scoring: None where nobody scores.
        origin: where it came from, as plain JSON values.
    """

    model: Path
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    calibration: GraphSamples
    probe: GraphSamples
    reference: Outputs
    scoring: Scoring | None = None
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def output_names(self) -> list[str]:
        return [spec.name for spec in self.outputs]


def check_graph_requests(source: GraphSource, requests: Sequence[BundleRequest]) -> None:
    """Make sure, before any work is begun, that every bundle that is asked for makes sense.

    Raises:
        UnknownNameError: when there is no such format, or it has no such precision.
        UsageError: when preprocessing is to be embedded, which arrays have none of.
        ExportError: when calibration samples lack, the target's runtime is too old for the operator
            set, or one is asked for twice.
    """
    names = [bundle_name(ROLE, request) for request in requests]
    for name, request in zip(names, requests, strict=True):
        export_format = FORMATS.get(request.format)()
        if request.precision not in export_format.precisions:
            kind = f"export format {request.format!r}"
            raise unknown_name("precision", request.precision, export_format.precisions, kind)
        if request.embedding != "none":
            raise UsageError(
                f"{name}: a graph that is no classifier takes its arrays as they are, so there is "
                "no preparation to embed; leave out --embed-preprocessing"
            )
        calibrated = request.precision in export_format.calibrated and request.scheme.needs_images()
        if calibrated and not len(source.calibration):
            raise ExportError(
                f"{name}: needs calibration samples, but there are none; give some, or ask for fp32"
            )
        if request.runtime is not None:
            check_opset(request.runtime, request.opset, name)
        if names.count(name) > 1:
            raise ExportError(f"{name}: is asked for twice; ask for it once")
