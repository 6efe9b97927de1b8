"""What is asked of this room: a trained classifier, and the bundles that are wanted of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from export.formats import FORMATS, ExportFormat
from export.quantization import QuantizationScheme
from export.runtimes import check_opset
from foundation.bundle import Preprocessing, RuntimeRange
from foundation.errors import ExportError, unknown_name

if TYPE_CHECKING:
    from torch import nn

    from export.learnt_quantization import LearntQuantization
    from foundation.metric_values import MetricValues

Labelled: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.integer[Any]]]
"""Images, uint8 (N, H, W, C), with their labels (N,)."""


UNLABELLED_VALIDATION = "unlabelled validation"
"""The part of the images that `ExportSource.unlabelled_validation` is."""


class BundleMetric(Protocol):
    """What models are judged by beside top-1; higher is better.

    Attributes:
        name: of it, for people.
        identity: what tells it from others, for what depends on it.
    """

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str: ...

    def judge(self, logits: NDArray[np.float32], labels: NDArray[np.int64], /) -> MetricValues:
        """What it says of logits (N, classes) of images with labels (N,)."""
        ...


@dataclass(frozen=True, eq=False)
class ExportSource:
    """A trained classifier, and the images that its export needs.

    Attributes:
        model: from prepared images (N, C, H, W) to logits (N, classes); never changed. A torch
            module, or the path of an ONNX file.
        role: "student" or "teacher".
        preprocessing: from a uint8 image to the model's input.
        classes: class names, in the order of the logits.
        calibration: uint8 images (N, H, W, C) that set the INT8 ranges; may be empty without INT8.
        probe_images: uint8 images (N, H, W, C) that parity is checked on and the bundle carries.
        evaluation: uint8 images (N, H, W, C) of the test split with their labels (N,), if any.
        validation: the same of the validation split.
        unlabelled: uint8 images (N, H, W, C) of which nobody says what they show, if any: lower
            precision is held against FP32 on them.
        unlabelled_validation: others of their kind, by which a precision is chosen.
        origin: where the weights came from, as plain JSON values.
        metric: what bundles are judged by beside top-1, and lower precision is chosen by.
        fit: takes a picture (H, W, C) of any size, uint8, and gives the image of it that is to be
            prepared; a graph that fits pictures itself is held against it.
        learnt: the integers of a form of the model that was trained in INT8; INT8 bundles are
            made of them where their scheme allows.
    """

    model: nn.Module | Path
    role: Literal["student", "teacher"]
    preprocessing: Preprocessing
    classes: Sequence[str]
    calibration: NDArray[np.uint8]
    probe_images: NDArray[np.uint8]
    evaluation: Labelled | None = None
    validation: Labelled | None = None
    unlabelled: NDArray[np.uint8] | None = None
    unlabelled_validation: NDArray[np.uint8] | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    learnt: LearntQuantization | None = None
    metric: BundleMetric | None = None
    fit: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None

    @property
    def has_no_labels(self) -> bool:
        """Whether answers can be held against FP32's alone."""
        return self.validation is None and self.evaluation is None

    @property
    def chosen_by(self) -> str:
        """The part of the images by which a precision is chosen: those of the test stand in for
        validation images where there are none, and those without labels for all others."""
        if self.validation is not None:
            return "validation"
        if self.evaluation is not None:
            return "test"
        return "unlabelled" if self.unlabelled_validation is None else UNLABELLED_VALIDATION


Embedding = Literal["none", "normalise", "resize"]

TOLERATED_DROP = 5.0
"""Points of accuracy on the test images that a lower precision may cost before it is refused."""


@dataclass(frozen=True)
class BundleRequest:
    """One bundle that is wanted of a source.

    Attributes:
        target: the target that the bundle is for.
        format: export format.
        precision: number format.
        scheme: how to quantise, where `precision` asks for it.
        opset: ONNX operator set to export with; of a user's ONNX file, the newest allowed.
        runtime: which versions of its runtime the target has; None for all that are known to
            load what is written.
        embedding: what of the preparation the graph does itself: "none"; "normalise", for uint8
            images (N, H, W, C); "resize", for uint8 pictures of any size too.
        tolerated_drop: points of accuracy on the test images that lower precision may cost.
    """

    target: str
    format: str
    precision: str
    scheme: QuantizationScheme = field(default_factory=QuantizationScheme)
    opset: int = 20
    runtime: RuntimeRange | None = None
    embedding: Embedding = "none"
    tolerated_drop: float = TOLERATED_DROP


def bundle_name(role: str, request: BundleRequest) -> str:
    """Name of the bundle and its folder, such as "local-onnx-int8" or "local-teacher-onnx-fp32"."""
    whose = "teacher-" if role == "teacher" else ""
    return f"{request.target}-{whose}{request.format}-{request.precision}"


def check_requests(source: ExportSource, requests: Sequence[BundleRequest]) -> None:
    """Make sure, before any work is begun, that every bundle that is asked for makes sense.

    Raises:
        UnknownNameError: when there is no such format, or it has no such precision.
        ExportError: when calibration images lack, preprocessing cannot be embedded, the target's
            runtime is too old for the operator set, or one is asked for twice.
    """
    from export.graphs.embedding import check_embeddable  # noqa: PLC0415 - onnx
    from export.graphs.resizing import check_fittable  # noqa: PLC0415 - onnx

    names = [bundle_name(source.role, request) for request in requests]
    for name, request in zip(names, requests, strict=True):
        format_for(source, request.format, request.precision, request.scheme)
        if request.embedding != "none":
            check_embeddable(request.format)
        if request.embedding == "resize":
            check_fittable(request.format, source.preprocessing)
        if request.runtime is not None:
            check_opset(request.runtime, request.opset, name)
        if names.count(name) > 1:
            raise ExportError(f"{name}: is asked for twice; ask for it once")


def format_for(
    source: ExportSource, name: str, precision: str, scheme: QuantizationScheme
) -> ExportFormat:
    """The format that writes a bundle; errors as `check_requests`."""
    export_format = FORMATS.get(name)()
    export_format.check_installed()
    if precision not in export_format.precisions:
        raise unknown_name(
            "precision", precision, export_format.precisions, f"export format {name!r}"
        )
    if export_format.from_network:
        network_of(source, f"format {name}")
    learnt = learnt_for(source, export_format, precision, scheme)
    calibrated = precision in export_format.calibrated and scheme.needs_images()
    if calibrated and learnt is None and not len(source.calibration):
        raise ExportError(
            f"{name} {precision} needs calibration images, but there are none; "
            "give some, or ask for fp32"
        )
    return export_format


def network_of(source: ExportSource, whose: str) -> nn.Module:
    """The network in PyTorch that something is to be made of; `whose` begins the message.

    Raises:
        ExportError: when the source is an ONNX file.
    """
    if isinstance(source.model, Path):
        raise ExportError(
            f"{whose}: is made of a network in PyTorch, but {source.model.name} is an ONNX file; "
            "use onnx, openvino or ncnn"
        )
    return source.model


def learnt_for(
    source: ExportSource, export_format: ExportFormat, precision: str, scheme: QuantizationScheme
) -> LearntQuantization | None:
    """The integers that a bundle is made of, where they were learnt; they stand in an ONNX file."""
    from export.learnt_quantization import takes_learnt  # noqa: PLC0415 - torch

    takes = takes_learnt(precision, scheme) and not export_format.from_network
    return source.learnt if takes else None
