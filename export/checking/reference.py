"""The original's own answer: torch, on the CPU, in full FP32."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.formats import Predictor
from foundation.memory import keep_freed_memory


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy for inference: FP32, on the CPU, evaluation mode; `model` itself is not touched."""
    frozen = copy.deepcopy(model).to(device="cpu", dtype=torch.float32)
    # Training often leaves channels-last weights; the exported graph should not depend on that.
    return frozen.to(memory_format=torch.contiguous_format).eval()


def torch_predictor(model: nn.Module) -> Predictor:
    """`model` as a function from float32 NCHW images to float32 logits (N, classes)."""
    keep_freed_memory()
    frozen = frozen_copy(model)

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode(), full_float32():
            logits: NDArray[np.float32] = frozen(torch.from_numpy(batch)).numpy()
        return logits

    return predict


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Keep torch from computing FP32 in bf16, whatever the caller allowed it."""
    backend: Any = torch.backends.mkldnn  # its operations are made at run time
    operations = (backend.conv, backend.matmul)
    before = [operation.fp32_precision for operation in operations]
    for operation in operations:
        operation.fp32_precision = "ieee"
    try:
        with torch.autocast("cpu", enabled=False):
            yield
    finally:
        for operation, precision in zip(operations, before, strict=True):
            operation.fp32_precision = precision
