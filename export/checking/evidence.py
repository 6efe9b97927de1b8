"""A written model is held against the original; one that fails is kept, with what is needed to
find out why."""

from __future__ import annotations

import contextlib
import importlib
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export._folders import replacing_folder
from export.checking.accuracy_lost import NamedClasses
from export.checking.answers import ALONE
from export.checking.parity import TOLERANCES, ExportParity, check, check_between_batches, compare
from foundation.answers import ANSWERS, Answers, write_answers
from foundation.bundle import Preprocessing
from foundation.errors import CompressError, ExportError
from foundation.files import write_json
from foundation.metric_values import MetricValues
from foundation.records import as_dict

PARITY, LAYERS = "parity.json", "layers.json"
METRIC = {"test": "metric.json", "validation": "validation-metric.json"}
_SECONDS_OF_LAYERS = 15.0
_LAYERS_FROM = 4  # images that the comparison of layers runs on


@dataclass(frozen=True)
class BundleDraft:
    """A bundle in the making.

    Attributes:
        name, format, precision: as in the manifest.
        folder: where it is being made: the model, the probe.
        model_file: the file that a runtime opens.
        onnx_file: the FP32 ONNX file that it was made of.
        preprocessing: of the written model.
    """

    name: str
    format: str
    precision: str
    folder: Path
    model_file: Path
    onnx_file: Path
    preprocessing: Preprocessing


@dataclass
class CheckFigures:
    """What was measured of a bundle in the making, for the evidence if it fails.

    Attributes:
        parity: the worst of all batch sizes, once they are compared.
        right: whether each image of a part ("test", "validation") is named rightly.
        same: whether each image of a part without labels is named as FP32 names it.
        test: what it answered to the test images.
        metric: by part what a metric beside top-1 says of it, where there is one.
    """

    parity: ExportParity | None = None
    right: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    same: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    test: NamedClasses | None = None
    metric: dict[str, MetricValues] = field(default_factory=dict)


@contextlib.contextmanager
def keeping_failure(draft: BundleDraft, failed: Path) -> Iterator[CheckFigures]:
    """Checks inside may raise an `ExportError`; what was made is kept then, to find out why.

    Args:
        draft: what was written.
        failed: the folder that keeps model, probe and parity.json; an earlier one goes.

    Raises:
        ExportError: as inside; it names the first operator at which the model parts from the
            original, where that can be told, and the folder with the evidence.
    """
    figures = CheckFigures()
    try:
        yield figures
    except ExportError as error:
        report = layers_of(draft)
        with contextlib.suppress(CompressError, OSError):
            _write_evidence(draft, figures, error, report, failed)
        where = report.line if report else "at which operator they part could not be found out"
        evidence = f"; what was made is kept in {failed}" if failed.exists() else ""
        raise ExportError(f"{error}; {where}{evidence}") from error
    _remove_evidence(failed)


def hold_to_reference(
    draft: BundleDraft,
    reference: NDArray[np.float32],
    answers: Mapping[str, NDArray[np.float32]],
    figures: CheckFigures,
) -> dict[str, Any]:
    """Compare the logits with the original's, and hold them to the precision's tolerance.

    Args:
        draft: what was written.
        reference: the original's logits, shape (N, classes).
        answers: the written model's, by how it was asked; see `logits_in_every_batch`.
        figures: takes the worst parity.

    Returns:
        The manifest's `parity`: the figures of the batch size that agrees least, how far the
        batch sizes are apart, and the tolerance that they were held to.

    Raises:
        ExportError: when they do not agree with the original, or not with each other.
    """
    figures.parity = compare(reference, answers[ALONE])
    check(figures.parity, draft.precision, draft.name)
    apart = check_between_batches(answers, draft.precision, draft.name)
    for way, logits in answers.items():
        parity = compare(reference, logits)
        if parity.relative_error > figures.parity.relative_error:
            figures.parity = parity
        check(parity, draft.precision, f"{draft.name}, asked {way}")
    facts = {"between_batches": apart, "tolerance": tolerance_of(draft.precision)}
    return asdict(figures.parity) | facts


def hold_to_float(
    draft: BundleDraft, floats: NDArray[np.float32], answers: Mapping[str, NDArray[np.float32]]
) -> dict[str, Any]:
    """Hold integers that were trained with against the same network in floating point: they are
    their own reference otherwise, which shows nothing of numbers that did not fit them.

    Args:
        draft: what was written.
        floats: logits (N, classes) of the network in floating point.
        answers: the written model's, as `hold_to_reference` takes them.

    Returns:
        The figures.

    Raises:
        ExportError: when they do not agree as INT8 has to.
    """
    parity = compare(floats, answers[ALONE])
    failure = f"{draft.name}: its integers are not the student that was trained"
    check(parity, draft.precision, failure)
    return asdict(parity)


def tolerance_of(precision: str) -> dict[str, float | None]:
    """What a precision is held to, as JSON values; None where there is no limit."""
    limits = asdict(TOLERANCES.get(precision, TOLERANCES["int8"]))
    return {name: limit if math.isfinite(limit) else None for name, limit in limits.items()}


def _write_evidence(
    draft: BundleDraft, figures: CheckFigures, error: ExportError, report: Any, failed: Path
) -> None:
    with replacing_folder(failed) as folder:
        shutil.copytree(draft.folder, folder, dirs_exist_ok=True)
        content = {
            "bundle": draft.name,
            "format": draft.format,
            "precision": draft.precision,
            "error": str(error),
            "parity": asdict(figures.parity) if figures.parity else None,
            "top1": {part: float(right.mean()) for part, right in figures.right.items()},
            "tolerance": tolerance_of(draft.precision),
            "layers": report.as_dict() if report else None,
        }
        write_json(folder / PARITY, content)


def _remove_evidence(failed: Path) -> None:
    """What failed before and passes now is no evidence any more."""
    shutil.rmtree(failed, ignore_errors=True)
    with contextlib.suppress(OSError):  # others may have failed
        failed.parent.rmdir()


def keep_findings(
    draft: BundleDraft,
    figures: CheckFigures,
    labels: NDArray[np.integer[Any]] | None,
    folder: Path,
) -> None:
    """Write what the checks found out of a bundle, for whoever reports on it.

    Args:
        draft: the bundle.
        figures: what was measured of it.
        labels: of the test images, (N,); None where there are none.
        folder: takes `answers.csv`, what a metric beside top-1 says as `metric.json` and
            `validation-metric.json`, and of integers `layers.json`; an earlier one is replaced.
    """
    with replacing_folder(folder) as temporary:
        if labels is not None and figures.test is not None:
            test = figures.test
            answers = Answers(np.asarray(labels, np.int64), test.classes, test.confidence)
            write_answers(temporary / ANSWERS, answers)
        for part, values in figures.metric.items():
            write_json(temporary / METRIC[part], as_dict(values))
        report = layers_of(draft, _SECONDS_OF_LAYERS) if draft.precision == "int8" else None
        if report is not None:
            write_json(temporary / LAYERS, report.as_dict())


def layers_of(draft: BundleDraft, seconds: float | None = None) -> Any:
    """How far each operator of a bundle is from the FP32 graph's, a `LayerReport`; None where that
    cannot be told.

    Args:
        draft: the bundle.
        seconds: what it may take; None for a minute.
    """
    # Whatever goes wrong while a failure is explained must not hide the failure.
    with contextlib.suppress(Exception):
        layers = importlib.import_module("export.checking.layers")
        with np.load(draft.folder / "probe.npz") as probe:
            pixels = probe["images"][:_LAYERS_FROM]
        return layers.first_divergence(
            draft.onnx_file,
            draft.model_file,
            draft.format,
            draft.preprocessing.apply(pixels),
            draft.precision,
            unprepared=draft.preprocessing.prepare(pixels)
            if draft.preprocessing.embedded
            else None,
            **({} if seconds is None else {"seconds": seconds}),
        )
    return None
