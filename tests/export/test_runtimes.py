from __future__ import annotations

import onnxruntime
import pytest

from export.runtimes import check_opset, runtime_of
from foundation.bundle import RuntimeRange
from foundation.errors import ExportError


def test_beyond_the_table_only_the_installed_version_is_known_to_load_it() -> None:
    facts = {"onnxruntime": onnxruntime.__version__, "opsets": {"ai.onnx": 99}, "ir_version": 10}
    found = runtime_of("onnx", facts)
    assert found.allows(onnxruntime.__version__)
    assert not found.allows("1.23.0")
    vino = runtime_of("openvino", {"openvino": "2026.4.1-22982-e213a147257"})
    assert vino == RuntimeRange("openvino", "2026.4")
    assert runtime_of("tflite", {}).name == "tflite"


def test_a_runtime_too_old_for_the_operators_is_told_before_anything_is_made() -> None:
    check_opset(RuntimeRange("onnxruntime", "1.17.3"), 20, "b")
    check_opset(RuntimeRange("openvino", "2024.0"), 20, "b")
    with pytest.raises(ExportError, match=r"b: ONNX opset 20 needs onnxruntime 1\.17.*1\.9"):
        check_opset(RuntimeRange("onnxruntime", "1.9"), 20, "b")
