"""What a lower precision costs in accuracy, and whether that is more than may be; and where images
have no labels, how often it still answers as FP32 does."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.checking.answers import logits_of
from export.formats import FORMATS, Predictor
from export.graphs.batches import batch_of, in_batches_of
from export.requests import ExportSource, Labelled
from export.searching.trials import paired_drop
from foundation.bundle import Preprocessing
from foundation.errors import ExportError
from foundation.statistics import wilson_interval


class FloatAnswers:
    """Which of the source's labelled images its FP32 ONNX graph names rightly.

    Asked once, when a bundle of lower precision first needs it: all of them are judged by it.

    Args:
        onnx_file: FP32 ONNX file of the source, held against it by the parity of each bundle.
        source: the original.
    """

    def __init__(self, onnx_file: Path, source: ExportSource) -> None:
        self._onnx_file, self._source = onnx_file, source

    @cached_property
    def test(self) -> NDArray[np.bool_] | None:
        """Of the test images, shape (N,); None where there are none."""
        if self._source.evaluation is None:
            return None
        return named_rightly(self._predictor(), self._source.evaluation, self._source.preprocessing)

    @cached_property
    def unlabelled(self) -> NDArray[np.int64] | None:
        """The classes of the images without labels, shape (N,); None where there are none."""
        if self._source.unlabelled is None:
            return None
        return _classes_of(self._predictor(), self._source.unlabelled, self._source.preprocessing)

    def _predictor(self) -> Predictor:
        predict = FORMATS.get("onnx")().load(self._onnx_file)
        return in_batches_of(predict, batch_of(self._onnx_file))


def named_rightly(
    predict: Predictor, images: Labelled, preprocessing: Preprocessing
) -> NDArray[np.bool_]:
    """Whether each image's label is the class of its largest logit, shape (N,)."""
    pixels, labels = images
    return np.asarray(_classes_of(predict, pixels, preprocessing) == labels)


def agreement_with_float(
    predict: Predictor,
    images: NDArray[np.uint8],
    preprocessing: Preprocessing,
    float_classes: NDArray[np.int64],
) -> dict[str, Any]:
    """How often a model answers images without labels as FP32 does, with its 95 % interval.

    Args:
        predict: the model.
        images: uint8, shape (N, H, W, C).
        preprocessing: of the model.
        float_classes: what FP32 answers to each, shape (N,).

    Returns:
        A part of the manifest's `parity`.
    """
    same = _classes_of(predict, images, preprocessing) == float_classes
    low, high = wilson_interval(int(same.sum()), len(same))
    return {"top1_agreement": float(same.mean()), "n": len(same), "low": low, "high": high}


def _classes_of(
    predict: Predictor, images: NDArray[np.uint8], preprocessing: Preprocessing
) -> NDArray[np.int64]:
    return np.asarray(logits_of(predict, images, preprocessing).argmax(1), np.int64)


def accuracy_of(right: NDArray[np.bool_] | None, validation: Any = None) -> dict[str, Any]:
    """The manifest's `accuracy`: of the test images with its 95 % interval, and of validation.

    Args:
        right: of each test image whether it is named rightly; None where there are none.
        validation: the same of the validation images.
    """
    accuracy: dict[str, Any] = {}
    if right is not None:
        correct, n = int(right.sum()), len(right)
        low, high = wilson_interval(correct, n)
        accuracy = {"top1": correct / n, "n": n, "split": "test", "low": low, "high": high}
    if validation is not None:
        accuracy["validation"] = {"top1": float(validation.mean()), "n": len(validation)}
    return accuracy


def check_drop(
    before: NDArray[np.bool_], after: NDArray[np.bool_], tolerated: float, bundle: str
) -> dict[str, float]:
    """Hold the accuracy that a bundle lost against what it may lose.

    The two are compared image by image. It fails where the whole 95 % interval of the loss is
    beyond what is tolerated: few images that can tell nothing refuse nothing.

    Args:
        before: whether FP32 names each test image rightly, shape (N,).
        after: the same of the bundle.
        tolerated: percentage points.
        bundle: its name, for the message.

    Returns:
        The loss in points, its interval, and what was tolerated.

    Raises:
        ExportError: when it lost more.
    """
    drop, low, high = paired_drop(before, after)
    if low > tolerated:
        raise ExportError(
            f"{bundle}: names {after.mean():.2%} of {len(after)} test images rightly, FP32 "
            f"{before.mean():.2%}: {drop:.2f} points lost ({low:.2f} to {high:.2f}), tolerated are "
            f"{tolerated:g} (export.tolerated_drop); keep operators in floating point with "
            "--precision auto, use more calibration images, or ask for fp16 or fp32"
        )
    return {"points": drop, "low": low, "high": high, "tolerated": tolerated}
