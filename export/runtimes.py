"""Which versions of a runtime load what was written, as far as the runtime's makers tell."""

from __future__ import annotations

from typing import Any

from foundation.bundle import RuntimeRange
from foundation.errors import ExportError
from foundation.manifest import version_numbers
from foundation.onnx_releases import oldest_release


def runtime_of(export_format: str, facts: dict[str, Any]) -> RuntimeRange:
    """The runtime that loads a written model, where no target says which versions it has.

    Args:
        export_format: the format that was written.
        facts: what the format says of it: the library's version, operator sets.
    """
    if export_format == "onnx":
        installed = _release(facts["onnxruntime"])
        oldest = oldest_release(facts["opsets"]["ai.onnx"], facts["ir_version"])
        return RuntimeRange("onnxruntime", oldest or installed)
    # Of another format only the version at hand is known to load it.
    return RuntimeRange(export_format, _release(str(facts.get(export_format, "0"))))


def check_opset(runtime: RuntimeRange, opset: int, bundle: str) -> None:
    """Make sure, before anything is exported, that the target's oldest runtime takes the opset.

    Raises:
        ExportError: when it does not.
    """
    if runtime.name != "onnxruntime":
        return
    oldest = oldest_release(opset)
    if oldest is not None and not version_numbers(runtime.min_version) >= version_numbers(oldest):
        raise ExportError(
            f"{bundle}: ONNX opset {opset} needs onnxruntime {oldest}, but the target may have "
            f"{runtime.min_version}; ask for an older opset"
        )


def _release(version: str) -> str:
    """Major and minor: patches load the same files."""
    return ".".join(map(str, version_numbers(version)[:2] or (0,)))
