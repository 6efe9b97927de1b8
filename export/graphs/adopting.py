"""A user's ONNX file is opened, run and folded for the first time: in a process of its own.

What was made of it there is one clean file, and everything that came to an end there will do so
here. See `foundation.confinement`.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from foundation.bundle import Preprocessing
from foundation.confinement import ProcessLimits, run_confined
from foundation.errors import ExportError, MissingFileError

_NEWEST_OPSET = 20
# ONNX Runtime says it in many ways.
_OUT_OF_MEMORY = re.compile(r"bfc_arena|bad_alloc|[Ff]ailed to allocate|more than \d+ bytes")


@dataclass(frozen=True)
class Adopted:
    """What is known of a user's ONNX file.

    Attributes:
        parameters: how many numbers its weights are.
        classes: how many logits it gives.
        remarks: what was done that its user may not expect, a line each.
    """

    parameters: int
    classes: int
    remarks: list[str]


def adopt_onnx(source: Path, preprocessing: Preprocessing, path: Path) -> Adopted:
    """Write a user's ONNX classifier as one file in this house's contract, and try it out.

    Args:
        source: the user's file; left as it is.
        preprocessing: of the images that it is to take.
        path: the file to write, atomically.

    Raises:
        MissingFileError, CorruptFileError: as `import_onnx`.
        ExportError: as `import_onnx`; when it takes more memory or time than a model of its size
            may; or its process died.
        NoSpaceError: when the disk is full.
    """
    if not source.is_file():
        raise MissingFileError(f"{source}: no such file; name an ONNX model")
    beside = [file for file in source.parent.glob(f"{source.stem}*") if file.is_file()]
    job = {
        "source": str(source.absolute()),
        "named": str(source),
        "preprocessing": asdict(preprocessing),
        "path": str(path.absolute()),
    }
    limits = ProcessLimits.for_model(sum(file.stat().st_size for file in beside))
    return Adopted(**run_confined(__name__, job, limits, str(source), ExportError))


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """What `adopt_onnx` asks of the other process."""
    import numpy as np  # noqa: PLC0415
    import onnxruntime  # noqa: PLC0415

    from export.graphs.from_onnx import as_one_file, check_classifier, import_onnx  # noqa: PLC0415
    from foundation.errors import CompressError  # noqa: PLC0415

    source, path = Path(job["source"]), Path(job["path"])
    preprocessing = Preprocessing(**job["preprocessing"])
    try:
        remarks = check_classifier(source, preprocessing)
        parameters = as_one_file(source, path)
        with tempfile.TemporaryDirectory() as scratch:
            clean = Path(scratch, "clean.onnx")
            import_onnx(path, preprocessing, clean, _NEWEST_OPSET)
            session = onnxruntime.InferenceSession(clean, providers=["CPUExecutionProvider"])
            (value,) = session.get_inputs()
            sizes = [size if isinstance(size, int) else 1 for size in value.shape]
            logits = session.run(None, {value.name: np.zeros(sizes, np.float32)})[0]
    except CompressError as error:
        if _OUT_OF_MEMORY.search(str(error)):
            raise MemoryError from error
        raise type(error)(str(error).replace(job["source"], job["named"])) from error
    return asdict(Adopted(parameters, int(logits.shape[1]), remarks))
