"""ONNX graphs, whoever made them: cleaned, and what is noted in them. No torch is needed."""

from __future__ import annotations

from pathlib import Path

import onnx

from export._libraries import quiet
from export.graphs.notes import drop_notes
from foundation.files import write_bytes


def set_metadata(path: Path, metadata: dict[str, str]) -> None:
    """Add metadata properties to an ONNX file; other properties stay.

    Args:
        path: the file, rewritten atomically.
        metadata: keys to JSON texts.
    """
    model = onnx.load(path)
    present = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, present | metadata)
    write_bytes(path, model.SerializeToString(deterministic=True))


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the standard operator set that a model uses."""
    return next(int(entry.version) for entry in model.opset_import if entry.domain == "")


def cleaned(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model optimised, with the shapes of all its values, without notes, and checked."""
    import onnxslim  # noqa: PLC0415 (heavy)

    with quiet():
        slim = onnxslim.slim(model)
    del slim.graph.value_info[:]
    drop_notes(slim)
    inferred = onnx.shape_inference.infer_shapes(slim, check_type=True, strict_mode=True)
    onnx.checker.check_model(inferred, full_check=True)
    return inferred
