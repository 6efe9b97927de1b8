"""An ONNX graph run by ONNX Runtime as it is written, with nothing optimised."""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from export.formats import Predictor

_ERRORS_ONLY = 3
IDLE_WHILE_WAITING = ("session.intra_op.allow_spinning", "0")
"""Threads sleep between operators: checks are many images, and a core that spins is nobody's."""


def session_predictor(model: bytes) -> Predictor:
    """A serialised model as a function from the images that it takes at once to logits."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry(*IDLE_WHILE_WAITING)
    options.log_severity_level = _ERRORS_ONLY + 1  # a model on trial may fail without a word
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    weights = {entry.name for entry in session.get_overridable_initializers()}
    name = next(entry.name for entry in session.get_inputs() if entry.name not in weights)

    def predict(images: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run(None, {name: images})[0]
        return logits

    return predict
