"""What tools note in an ONNX file besides the model: traces of source code, places on a disk."""

from __future__ import annotations

from typing import Any

import onnx

from foundation.places import without_folders


def drop_notes(model: onnx.ModelProto) -> None:
    """Take out, in place, what would tell of the machine that a model was made on.

    Exporters note a trace of the source code at every node. All such notes go; of the model's own
    properties, which may be read by whoever runs it, only the folders of paths do.
    """
    for entry in model.metadata_props:
        entry.value = without_folders(entry.value)
    model.doc_string = without_folders(model.doc_string)
    for part in (model.graph, *model.functions):
        _drop_below(part)


def _drop_below(part: Any) -> None:
    for name in ("doc_string", "metadata_props"):
        if name in part.DESCRIPTOR.fields_by_name:
            part.ClearField(name)
    for field, value in part.ListFields():
        if field.message_type is not None:
            for child in [value] if hasattr(value, "ListFields") else value:
                _drop_below(child)
