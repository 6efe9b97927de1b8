"""What a model answers: its logits, what they are worth, and whether they can be a reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from export.formats import Predictor
from export.from_onnx import onnx_predictor
from export.reference import torch_predictor
from export.requests import ExportSource, Labelled
from foundation.bundle import Preprocessing
from foundation.errors import ExportError
from foundation.statistics import wilson_interval

BATCH = 64


def predictor_of(original: nn.Module | Path) -> Predictor:
    """The original's own answers: torch's, or those of an ONNX file as it is written."""
    if isinstance(original, Path):
        return onnx_predictor(original)
    return torch_predictor(original)


def logits_of(
    predict: Predictor, images: NDArray[np.uint8], preprocessing: Preprocessing
) -> NDArray[np.float32]:
    """Logits (N, classes) for uint8 images (N, H, W, C), a batch at a time."""
    if not len(images):
        raise ExportError("there are no images to check the model on; give some")
    starts = range(0, len(images), BATCH)
    prepare = preprocessing.prepare
    return np.concatenate([predict(prepare(images[at : at + BATCH])) for at in starts])


def accuracy_of(
    predict: Predictor, source: ExportSource, preprocessing: Preprocessing
) -> dict[str, Any]:
    """The manifest's `accuracy`: of the test split with its 95 % interval, and of validation."""
    found: dict[str, Any] = {}
    if source.evaluation is not None:
        right, n = _right(predict, source.evaluation, preprocessing)
        low, high = wilson_interval(right, n)
        found = {"top1": right / n, "n": n, "split": "test", "low": low, "high": high}
    if source.validation is not None:
        right, n = _right(predict, source.validation, preprocessing)
        found["validation"] = {"top1": right / n, "n": n}
    return found


def check_reference(reference: NDArray[np.float32], source: ExportSource) -> None:
    """Make sure that the original's logits of the probe images can be held against.

    Raises:
        ExportError: when they are of other classes, or not finite.
    """
    whole = isinstance(source.model, Path)
    what = str(source.model) if whole else type(source.model).__name__
    if reference.shape != (len(source.probe_images), len(source.classes)):
        raise ExportError(
            f"{what} gives logits of shape {reference.shape} for "
            f"{len(source.probe_images)} images and {len(source.classes)} classes; "
            "give the class names that it was trained on"
        )
    if not np.isfinite(reference).all():
        raise ExportError(
            f"{what}: the original gave logits that are not finite; "
            "check the weights it was made from"
        )


def _right(predict: Predictor, images: Labelled, preprocessing: Preprocessing) -> tuple[int, int]:
    """How many of how many images are named rightly."""
    pixels, labels = images
    return int((logits_of(predict, pixels, preprocessing).argmax(1) == labels).sum()), len(labels)
