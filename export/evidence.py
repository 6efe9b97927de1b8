"""A written model is held against the original; one that fails is kept, with what is needed to
find out why."""

from __future__ import annotations

import contextlib
import importlib
import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export._folders import replacing_folder
from export.parity import TOLERANCES, Parity, check, compare
from foundation.bundle import Preprocessing
from foundation.errors import CompressError, ExportError
from foundation.files import write_json

PARITY = "parity.json"
_LAYERS_FROM = 4  # images that the comparison of layers runs on


@dataclass(frozen=True)
class Made:
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


def hold_to_reference(
    made: Made, reference: NDArray[np.float32], outputs: NDArray[np.float32], failed: Path
) -> dict[str, Any]:
    """Compare the logits with the original's, and hold them to the precision's tolerance.

    Args:
        made: what was written.
        reference: the original's logits, shape (N, classes).
        outputs: the written model's.
        failed: the folder that keeps model, probe and parity.json if they do not agree; an
            earlier one goes.

    Returns:
        The manifest's `parity`: the figures and the tolerance that they were held to.

    Raises:
        ExportError: when they do not agree; it names the first operator at which they part,
            where that can be told, and the folder with the evidence.
    """
    parity: Parity | None = None
    try:
        parity = compare(reference, outputs)
        check(parity, made.precision, made.name)
    except ExportError as error:
        report = _first_divergence(made)
        with contextlib.suppress(CompressError, OSError):
            _keep(made, parity, error, report, failed)
        where = report.line if report else "at which operator they part could not be found out"
        kept = f"; what was made is kept in {failed}" if failed.exists() else ""
        raise ExportError(f"{error}; {where}{kept}") from error
    _forget(failed)
    return asdict(parity) | {"tolerance": tolerance_of(made.precision)}


def tolerance_of(precision: str) -> dict[str, float | None]:
    """What a precision is held to, as JSON values; None where there is no limit."""
    limits = asdict(TOLERANCES.get(precision, TOLERANCES["int8"]))
    return {name: limit if math.isfinite(limit) else None for name, limit in limits.items()}


def _keep(made: Made, parity: Parity | None, error: ExportError, report: Any, failed: Path) -> None:
    with replacing_folder(failed) as folder:
        shutil.copytree(made.folder, folder, dirs_exist_ok=True)
        content = {
            "bundle": made.name,
            "format": made.format,
            "precision": made.precision,
            "error": str(error),
            "parity": asdict(parity) if parity else None,
            "tolerance": tolerance_of(made.precision),
            "layers": report.as_dict() if report else None,
        }
        write_json(folder / PARITY, content)


def _forget(failed: Path) -> None:
    """What failed before and passes now is no evidence any more."""
    shutil.rmtree(failed, ignore_errors=True)
    with contextlib.suppress(OSError):  # others may have failed
        failed.parent.rmdir()


def _first_divergence(made: Made) -> Any:
    """A report on the first operator at which the two part, or None where none can be made."""
    # Whatever goes wrong while a failure is explained must not hide the failure.
    with contextlib.suppress(Exception):
        layers = importlib.import_module("export.layers")
        with np.load(made.folder / "probe.npz") as probe:
            pixels = probe["images"][:_LAYERS_FROM]
        return layers.first_divergence(
            made.onnx_file,
            made.model_file,
            made.format,
            made.preprocessing.apply(pixels),
            made.precision,
            unprepared=pixels if made.preprocessing.embedded else None,
        )
    return None
