"""From a torch classifier to bundles: written, held against the original, measured, sealed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export._folders import replacing_folder, scratch_folder
from export._libraries import failing_as
from export.formats import FORMATS, ExportFormat, Predictor
from export.parity import check, compare
from export.quantization import QuantizationScheme
from export.reference import torch_predictor
from export.to_onnx import export_onnx, set_metadata
from foundation.bundle import PROBE, Manifest, Preprocessing, checksums, write_manifest
from foundation.errors import ExportError, unknown_name

BATCH = 64


@dataclass(frozen=True, eq=False)
class ExportSource:
    """A trained classifier, and the images that its export needs.

    Attributes:
        model: from prepared images (N, C, H, W) to logits (N, classes); never changed.
        role: "student" or "teacher".
        preprocessing: from a uint8 image to the model's input.
        classes: class names, in the order of the logits.
        calibration: uint8 images (N, H, W, C) that set the INT8 ranges; may be empty without INT8.
        probe_images: uint8 images (N, H, W, C) that parity is checked on and the bundle carries.
        evaluation: uint8 images (N, H, W, C) of the test split with their labels (N,), if any.
        origin: where the weights came from, as plain JSON values.
    """

    model: nn.Module
    role: Literal["student", "teacher"]
    preprocessing: Preprocessing
    classes: Sequence[str]
    calibration: NDArray[np.uint8]
    probe_images: NDArray[np.uint8]
    evaluation: tuple[NDArray[np.uint8], NDArray[np.integer[Any]]] | None = None
    origin: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BundleRequest:
    """One bundle that is wanted of a source."""

    target: str
    format: str
    precision: str
    scheme: QuantizationScheme = field(default_factory=QuantizationScheme)
    opset: int = 20


def bundle_name(role: str, request: BundleRequest) -> str:
    """Name of the bundle and its folder, such as "local-onnx-int8" or "local-teacher-onnx-fp32"."""
    whose = "teacher-" if role == "teacher" else ""
    return f"{request.target}-{whose}{request.format}-{request.precision}"


def make_bundles(
    source: ExportSource,
    requests: Sequence[BundleRequest],
    root: Path,
    on_progress: Callable[[str], None] | None = None,
) -> list[Manifest]:
    """Make the requested bundles, each in its folder under `root`, in the order of `requests`.

    Torch exports once per opset, and nothing is begun before every request is known to make sense.

    Raises:
        UnknownNameError: when there is no such format, or it has no such precision.
        ExportError: as `export_fp32_onnx` and `make_bundle`; bundles finished before stay.
        NoSpaceError: when the disk is full.
    """
    report = on_progress or (lambda _: None)
    for request in requests:
        _format_for(source, request.format, request.precision)
    manifests = []
    with scratch_folder(root / ".export.tmp") as scratch:
        for request in requests:
            onnx_file = scratch / f"opset-{request.opset}.onnx"
            if not onnx_file.exists():
                report(f"{source.role}: exporting to ONNX, opset {request.opset}")
                export_fp32_onnx(source, onnx_file, request.opset)
            name = bundle_name(source.role, request)
            report(f"{name}: writing and checking")
            manifest = make_bundle(
                source,
                onnx_file,
                target=request.target,
                format=request.format,
                precision=request.precision,
                scheme=request.scheme,
                folder=root / name,
            )
            manifests.append(manifest)
    return manifests


def export_fp32_onnx(source: ExportSource, path: Path, opset: int) -> None:
    """Write the source's model as FP32 ONNX that carries preprocessing, classes and origin.

    Raises:
        ExportError: when the exporter cannot take the model.
    """
    shape = source.preprocessing
    example = torch.zeros(1, shape.channels, shape.height, shape.width)
    export_onnx(source.model, example, path, opset)
    metadata = {
        "preprocessing": asdict(source.preprocessing),
        "classes": list(source.classes),
        "origin": source.origin,
    }
    set_metadata(path, {key: json.dumps(value) for key, value in metadata.items()})


def make_bundle(
    source: ExportSource,
    onnx_file: Path,
    *,
    target: str,
    format: str,  # noqa: A002 (the manifest's own word)
    precision: str,
    scheme: QuantizationScheme,
    folder: Path,
) -> Manifest:
    """Make one bundle of an exported model; it stands at `folder` only if every check passed.

    Args:
        source: the original.
        onnx_file: what `export_fp32_onnx` wrote for it.
        target: the target that the bundle is for.
        format: export format.
        precision: number format.
        scheme: how to quantise, where `precision` asks for it.
        folder: the bundle's folder, named like the bundle; an earlier one is replaced.

    Raises:
        UnknownNameError: when there is no such format, or it has no such precision.
        ExportError: when writing fails, calibration images lack, or the written model does not
            agree with the original.
        NoSpaceError: when the disk is full.
    """
    export_format = _format_for(source, format, precision)
    name = folder.name
    with (
        replacing_folder(folder) as temporary,
        failing_as(f"{name}: cannot be made", "try another format, opset or scheme"),
    ):
        reference = _logits(torch_predictor(source.model), source.probe_images, source)
        _check_classes(reference, source)
        calibration = _calibration(source, export_format, precision)
        written = export_format.write(onnx_file, precision, temporary, calibration, scheme)
        predict = export_format.load(temporary / written.model_file)
        parity = compare(reference, _logits(predict, source.probe_images, source))
        check(parity, precision, name)
        accuracy = _accuracy(predict, source)
        np.savez(temporary / PROBE, images=source.probe_images, logits=reference)
        manifest = Manifest(
            name=name,
            role=source.role,
            target=target,
            format=format,
            precision=precision,
            model_file=written.model_file,
            input_name=written.input_name,
            output_name=written.output_name,
            preprocessing=source.preprocessing,
            classes=list(source.classes),
            files=checksums(temporary),
            format_facts={"torch": torch.__version__} | written.facts,
            parity=asdict(parity),
            accuracy=accuracy,
            origin=source.origin,
        )
        write_manifest(temporary, manifest)
    return manifest


def _format_for(source: ExportSource, name: str, precision: str) -> ExportFormat:
    export_format = FORMATS.get(name)()
    if precision not in export_format.precisions:
        raise unknown_name(
            "precision", precision, export_format.precisions, f"export format {name!r}"
        )
    if precision in export_format.calibrated and not len(source.calibration):
        raise ExportError(
            f"{name} {precision} needs calibration images, but there are none; "
            "give some, or ask for fp32"
        )
    return export_format


def _calibration(
    source: ExportSource, export_format: ExportFormat, precision: str
) -> NDArray[np.float32]:
    if precision in export_format.calibrated:
        return source.preprocessing.apply(source.calibration)
    shape = source.preprocessing
    return np.empty((0, shape.channels, shape.height, shape.width), np.float32)


def _check_classes(reference: NDArray[np.float32], source: ExportSource) -> None:
    if reference.shape != (len(source.probe_images), len(source.classes)):
        raise ExportError(
            f"{type(source.model).__name__} gives logits of shape {reference.shape} for "
            f"{len(source.probe_images)} images and {len(source.classes)} classes; "
            "give the class names that it was trained on"
        )


def _logits(
    predict: Predictor, images: NDArray[np.uint8], source: ExportSource
) -> NDArray[np.float32]:
    """Logits (N, classes) for uint8 images (N, H, W, C), a batch at a time."""
    if not len(images):
        raise ExportError("there are no images to check the model on; give some")
    starts = range(0, len(images), BATCH)
    prepare = source.preprocessing.apply
    return np.concatenate([predict(prepare(images[at : at + BATCH])) for at in starts])


def _accuracy(predict: Predictor, source: ExportSource) -> dict[str, Any]:
    if source.evaluation is None:
        return {}
    images, labels = source.evaluation
    right = _logits(predict, images, source).argmax(1) == labels
    return {"top1": float(right.mean()), "n": len(labels), "split": "test"}
