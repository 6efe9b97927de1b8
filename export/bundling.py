"""From a classifier to bundles: written, held against the original, measured, sealed."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from export._folders import replacing_folder, scratch_folder
from export._libraries import failing_as
from export.card import model_card
from export.checking.accuracy_lost import accuracy_of, agreement_between, check_drop
from export.checking.answers import logits_in_every_batch, logits_of, predictor_of
from export.checking.evidence import (
    BundleDraft,
    CheckFigures,
    hold_to_float,
    hold_to_reference,
    keep_findings,
    keeping_failure,
)
from export.checking.fitting import hold_to_fit
from export.formats import FORMATS, ExportFormat, Predictor, Written
from export.graphs.batches import batch_of, in_batches_of
from export.graphs.cleaning import opset_of, set_metadata
from export.graphs.embedding import embed_preprocessing
from export.graphs.resizing import embed_fitting
from export.learnt_quantization import write_learnt
from export.original import Original, model_digest
from export.requests import (
    BundleRequest,
    ExportSource,
    bundle_name,
    check_requests,
    format_for,
    learnt_for,
    network_of,
)
from export.runtimes import runtime_of
from foundation.bundle import (
    BATCH_AXIS,
    CARD,
    PICTURE_AXES,
    PROBE,
    Manifest,
    Preprocessing,
    TensorSpec,
    checksums,
    write_manifest,
)
from foundation.digests import settle
from foundation.errors import ExportError
from foundation.files import check_inside, sha256_of, write_text
from foundation.memory import give_back_freed_memory
from foundation.metric_values import MetricValues

logger = logging.getLogger(__name__)

PARTS = ("test", "validation", "unlabelled")
"""The images of a source that a bundle is asked about."""


def make_bundles(
    source: ExportSource,
    requests: Sequence[BundleRequest],
    root: Path,
    on_progress: Callable[[str], None] | None = None,
    *,
    on_remark: Callable[[str], None] | None = None,
    on_failed: Callable[[BundleRequest, ExportError], None] | None = None,
    original: Original | None = None,
    findings: Path | None = None,
) -> list[Manifest]:
    """Make the requested bundles, each in its folder under `root`, in the order of `requests`.

    The original is exported once per opset, and nothing is begun before every request is known
    to make sense.

    Args:
        source: the original.
        requests: what is wanted of it.
        root: takes the bundles' folders.
        on_progress: told what is being made.
        on_remark: told what was decided by measuring.
        on_failed: told of a bundle of lower precision that failed its checks, which is left out
            then; None raises what it would be told.
        original: what is known of the source already.
        findings: takes a folder for each bundle with what its checks found out; see
            `export.checking.evidence.keep_findings`. None keeps nothing.

    Raises:
        UnknownNameError: when there is no such format, or it has no such precision.
        ExportError: as `export_fp32_onnx` and `make_bundle`; bundles finished before stay.
        MissingFileError, CorruptFileError: when a source's ONNX file is not what it must be.
        NoSpaceError: when the disk is full.
    """
    report = on_progress or (lambda _: None)
    check_inside(root)
    remark = on_remark or (lambda _: None)
    check_requests(source, requests)
    manifests = []
    with scratch_folder(root / ".export.tmp") as scratch:
        original = original or Original(source, scratch)
        for request in requests:
            exporting = f"{source.role}: exporting to ONNX, opset {request.opset}"
            onnx_file = original.onnx_file(request.opset, partial(report, exporting))
            name = bundle_name(source.role, request)
            report(f"{name}: writing and checking")
            try:
                kept = None if findings is None else findings / name
                manifest, _ = make_judged_bundle(
                    original, onnx_file, request, root / name, findings=kept
                )
            except ExportError as error:
                if on_failed is None or request.precision == "fp32":
                    raise
                on_failed(request, error)
                continue
            manifests.append(manifest)
            for line in manifest.format_facts.get("remarks", []):
                remark(f"{name}: {line}")
    return manifests


def make_bundle(
    source: ExportSource, onnx_file: Path, request: BundleRequest, folder: Path
) -> Manifest:
    """Make one bundle of a source that nothing is known of yet; as `make_judged_bundle`."""
    return make_judged_bundle(Original(source), onnx_file, request, folder)[0]


def make_judged_bundle(
    original: Original,
    onnx_file: Path,
    request: BundleRequest,
    folder: Path,
    *,
    parts: Sequence[str] = PARTS,
    findings: Path | None = None,
    metrics: dict[str, MetricValues] | None = None,
) -> tuple[Manifest, dict[str, NDArray[np.bool_]]]:
    """Make one bundle of an exported model; it stands at `folder` only if every check passed.

    What disagrees with the original is kept, with the evidence, in `failed/` beside `folder`.

    Args:
        original: the source, and what is known of it already.
        onnx_file: what `export_fp32_onnx` wrote for it.
        request: which bundle; its operator set is the file's.
        folder: the bundle's folder, named like the bundle; an earlier one is replaced.
        parts: those of the source's images that it is asked about.
        findings: the folder for what its checks found out; None keeps nothing.
        metrics: takes by part what the source's metric says, where it has one.

    Returns:
        Its manifest, and by part whether it names each image rightly, or as FP32 does where the
        part has no labels, shape (N,).

    Raises:
        UnknownNameError: when there is no such format, or it has no such precision.
        ExportError: when writing fails, calibration images lack, or the written model does not
            agree with the original, answers otherwise in a batch than alone, or loses too much.
        NoSpaceError: when the disk is full.
    """
    source = original.source
    began = time.perf_counter()
    give_back_freed_memory()
    precision, scheme = request.precision, request.scheme
    logger.info("%s: %s %s, %s", folder, request.format, precision, scheme)
    export_format = format_for(source, request.format, precision, scheme)
    name = folder.name
    learnt = learnt_for(source, export_format, precision, scheme)
    integers = None if learnt is None else learnt.network(scheme.activation_type)
    with (
        replacing_folder(folder) as temporary,
        failing_as(f"{name}: cannot be made", "try another format, opset or scheme"),
    ):
        preprocessing, batch = source.preprocessing, batch_of(onnx_file)
        reference = original.reference(integers, "" if integers is None else scheme.activation_type)
        if integers is not None:
            kind, opset = scheme.activation_type, opset_of(onnx.load(onnx_file))
            written = write_learnt(
                integers, preprocessing, export_format, temporary, activation_type=kind, opset=opset
            )
        else:

            def write(target: Path) -> Written:
                calibration = _calibration(source, export_format, precision)
                if export_format.from_network:
                    network = network_of(source, name)
                    return export_format.write_network(
                        network, precision, target, calibration, scheme
                    )
                return export_format.write(onnx_file, precision, target, calibration, scheme)

            written = original.written(request, temporary, write)
        logger.debug("%s: written after %.1f s", name, time.perf_counter() - began)
        if request.embedding != "none":
            written, preprocessing = _embedded(written, request, temporary, preprocessing)
        np.savez(temporary / PROBE, images=source.probe_images, logits=reference)
        # What was written this moment would be read once more by whoever asks for its checksum.
        settle(temporary / PROBE)

        draft = BundleDraft(
            name, request.format, precision, temporary, temporary / written.model_file, onnx_file,
            preprocessing,
        )  # fmt: skip
        with keeping_failure(draft, folder.parent / "failed" / name) as figures:
            make_float = learnt.float_network if learnt else None
            floats = make_float() if make_float else None
            parity, accuracy = _judge(
                draft, original, reference, figures, parts=parts, floats=floats
            )
            if preprocessing.resize_embedded:
                parity["resize"] = hold_to_fit(draft, source, batch)
            if precision != "fp32" and "test" in figures.right:
                before = original.right("test", original.float_classes("test", onnx_file))
                right = figures.right["test"]
                accuracy["drop"] = check_drop(before, right, request.tolerated_drop, name)
        if metrics is not None:
            metrics |= figures.metric
        if findings is not None:
            labels = None if source.evaluation is None else source.evaluation[1]
            keep_findings(draft, figures, labels, findings)

        exporter = {} if isinstance(source.model, Path) else {"torch": torch.__version__}
        manifest = Manifest(
            name=name,
            role=source.role,
            target=request.target,
            format=request.format,
            precision=precision,
            model_file=written.model_file,
            input=_input_spec(written.input_name, preprocessing, batch),
            output=TensorSpec(
                written.output_name, "float32", "NC", [batch or BATCH_AXIS, len(source.classes)]
            ),
            preprocessing=preprocessing,
            classes=list(source.classes),
            files=checksums(temporary),
            opset=written.facts.get("opsets", {}).get("ai.onnx"),
            runtime=request.runtime or runtime_of(request.format, written.facts),
            format_facts=exporter | written.facts | _remarks(written),
            parity=parity,
            accuracy=accuracy,
            origin=source.origin | (learnt.origin if learnt is not None else {}),
        )
        write_text(temporary / CARD, model_card(manifest, temporary))
        card = {CARD: sha256_of(temporary / CARD)}
        manifest = replace(manifest, files=dict(sorted((manifest.files | card).items())))
        write_manifest(temporary, manifest)
    logger.info(
        "%s: made in %.1f s, parity %s, accuracy %s",
        name, time.perf_counter() - began, manifest.parity, manifest.accuracy,
    )  # fmt: skip
    return manifest, figures.right | figures.same


def _judge(
    draft: BundleDraft,
    original: Original,
    reference: NDArray[np.float32],
    figures: CheckFigures,
    *,
    parts: Sequence[str],
    floats: nn.Module | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The manifest's `parity` and `accuracy` of a written model.

    `floats` is the network whose integers the model holds, if they were learnt; errors as
    `hold_to_reference` and `hold_to_float`.
    """
    source = original.source
    export_format, images = FORMATS.get(draft.format)(), source.probe_images
    batch = batch_of(draft.onnx_file)
    answers = logits_in_every_batch(
        export_format, draft.model_file, images, draft.preprocessing, batch
    )
    parity = hold_to_reference(draft, reference, answers, figures)
    if floats is not None:
        own = logits_of(predictor_of(floats), images, source.preprocessing)
        parity["float_student"] = hold_to_float(draft, own, answers)

    @cache
    def load() -> Predictor:
        return in_batches_of(export_format.load(draft.model_file), batch)

    files = checksums(draft.folder)
    del files[PROBE]
    model = model_digest(draft.format, files.values())
    for part in parts:
        answered = original.answers(part, model, draft.preprocessing, load)
        if answered is None:
            continue
        classes = answered.classes
        if part in ("test", "validation"):
            figures.right[part] = original.right(part, classes)
            figures.test = answered if part == "test" else figures.test
            if answered.metric is not None:
                figures.metric[part] = answered.metric
        else:
            float_classes = original.float_classes(part, draft.onnx_file)
            figures.same[part] = classes == float_classes
            if part == "unlabelled" and draft.precision != "fp32":
                parity[part] = agreement_between(float_classes, classes)
    return parity, accuracy_of(figures.right.get("test"), figures.right.get("validation"))


def _remarks(written: Written) -> dict[str, list[str]]:
    return {"remarks": list(written.remarks)} if written.remarks else {}


def _calibration(
    source: ExportSource, export_format: ExportFormat, precision: str
) -> NDArray[np.float32]:
    if precision in export_format.calibrated and len(source.calibration):
        return source.preprocessing.apply(source.calibration)
    shape = source.preprocessing
    return np.empty((0, shape.channels, shape.height, shape.width), np.float32)


def _embedded(
    written: Written, request: BundleRequest, folder: Path, preprocessing: Preprocessing
) -> tuple[Written, Preprocessing]:
    model_file = folder / written.model_file
    name = embed_preprocessing(request.format, model_file, preprocessing)
    embedded = replace(preprocessing, embedded=True)
    if request.embedding == "resize":
        name = embed_fitting(request.format, model_file, preprocessing)
        embedded = replace(embedded, resize_embedded=True)
    if request.format == "onnx":
        set_metadata(model_file, {"preprocessing": json.dumps(asdict(embedded))})
    return replace(written, input_name=name), embedded


def _input_spec(name: str, preprocessing: Preprocessing, batch: int | None) -> TensorSpec:
    image, first = (preprocessing.height, preprocessing.width), batch or BATCH_AXIS
    if preprocessing.embedded:
        sides: list[int | str] = [*PICTURE_AXES] if preprocessing.resize_embedded else [*image]
        return TensorSpec(name, "uint8", "NHWC", [first, *sides, preprocessing.channels])
    return TensorSpec(name, "float32", "NCHW", [first, preprocessing.channels, *image])
