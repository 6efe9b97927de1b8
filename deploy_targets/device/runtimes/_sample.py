"""A convolution as an ONNX file: from x to y, both 1×1×2×2, padded, with a 3×3 kernel of ones."""

from __future__ import annotations

import base64

ONNX = base64.b64decode(
    "CAcSADqWAQoiCgF4CgFrEgF5IgRDb252KhEKBHBhZHNAAUABQAFAAaABBxIBZyozCAEIAQgDCAMQAUIBa0okAACA"
    "PwAAgD8AAIA/AACAPwAAgD8AAIA/AACAPwAAgD8AAIA/WhsKAXgSFgoUCAESEAoCCAEKAggBCgIIAgoCCAJiGwoB"
    "eRIWChQIARIQCgIIAQoCCAEKAggCCgIIAkIECgAQDQ=="
)
