"""An ONNX classifier that is asked again and again: for its logits, and for features on the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from export._libraries import failing_as
from export.graphs.batches import fixed_batch, image_input
from export.graphs.features import computed_tensors, last_of_each_resolution, with_outputs
from export.graphs.from_onnx import classifier_in
from export.graphs.outputs import without_final_activation
from export.graphs.running import IDLE_WHILE_WAITING
from foundation.bundle import Preprocessing
from foundation.errors import unknown_name

_FATAL_ONLY = 4

Arrays = tuple[NDArray[np.float32], ...]


class AskedGraph:
    """An ONNX classifier, run by ONNX Runtime with all that it does for speed.

    Attributes:
        activation: the softmax or sigmoid at its end, in front of which its logits are taken; None
            where there is none.
        maps: names of its last feature map of each resolution, from input to output.

    Args:
        path: the file.
        preprocessing: of the images that it takes.
        threads: of its arithmetic.

    Raises:
        MissingFileError, CorruptFileError: when the file cannot be read.
        ExportError: when it is no classifier of such images.
    """

    def __init__(self, path: Path, preprocessing: Preprocessing, threads: int) -> None:
        self._path, self._threads = path, threads
        self._model = classifier_in(path, preprocessing)
        self.activation = without_final_activation(self._model)
        self.maps = last_of_each_resolution(self._model)
        self._batch = fixed_batch(image_input(self._model))
        self._sessions: dict[tuple[str, ...], onnxruntime.InferenceSession] = {}

    def check_tensors(self, names: Sequence[str]) -> None:
        """Make sure that it computes tensors of such names.

        Raises:
            UnknownNameError: when it does not.
        """
        known = computed_tensors(self._model)
        for name in names:
            if name not in known:
                raise unknown_name(f"tensor of {self._path.name}", name, known)

    def __call__(self, images: NDArray[np.float32], features: Sequence[str] = ()) -> Arrays:
        """Logits (N, classes), then the named features, each with N along its first axis.

        Args:
            images: shape (N, C, H, W), prepared.
            features: names of tensors that it computes.

        Raises:
            ExportError: when ONNX Runtime cannot run it.
        """
        session = self._session(tuple(features))
        name, size = session.get_inputs()[0].name, self._batch or max(len(images), 1)
        starts = range(0, len(images), size)
        with failing_as(f"{self._path}: cannot be run", "export it anew"):
            parts = [session.run(None, {name: images[at : at + size]}) for at in starts]
        return tuple(map(np.concatenate, zip(*parts, strict=True)))

    def _session(self, features: tuple[str, ...]) -> onnxruntime.InferenceSession:
        if features not in self._sessions:
            with failing_as(f"{self._path}: cannot be run", "export it anew"):
                model = with_outputs(self._model, features)
                self._sessions[features] = _session_of(model, self._threads)
        return self._sessions[features]


def _session_of(model: onnx.ModelProto, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _FATAL_ONLY
    options.add_session_config_entry(*IDLE_WHILE_WAITING)
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
