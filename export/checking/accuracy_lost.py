"""What a lower precision costs in accuracy, and whether that is more than may be; and where images
have no labels, how often it still answers as FP32 does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.checking.answers import logits_of
from export.formats import Predictor
from export.searching.trials import paired_drop
from foundation.bundle import Preprocessing
from foundation.errors import ExportError
from foundation.metric_values import MetricValues
from foundation.statistics import wilson_interval


@dataclass(frozen=True, eq=False)
class NamedClasses:
    """What a model says of images.

    Attributes:
        classes: of the largest logit of each, int64 (N,).
        confidence: that logit's softmax, 0..1, float64 (N,).
        metric: what a metric beside top-1 says of the logits, where there is one.
    """

    classes: NDArray[np.int64]
    confidence: NDArray[np.float64]
    metric: MetricValues | None = None


def answers_of(
    predict: Predictor,
    images: NDArray[np.uint8],
    preprocessing: Preprocessing,
    judge: Callable[[NDArray[np.float32]], MetricValues] | None = None,
) -> NamedClasses:
    """The class that a model names of each image (N, H, W, C), and how sure it is; `judge` has the
    logits (N, classes) too."""
    plain = logits_of(predict, images, preprocessing)
    logits = plain.astype(np.float64)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    metric = None if judge is None else judge(plain)
    return NamedClasses(np.asarray(logits.argmax(1), np.int64), 1 / shares.sum(1), metric)


def agreement_between(
    float_classes: NDArray[np.int64], classes: NDArray[np.int64]
) -> dict[str, Any]:
    """How often a model answers images without labels as FP32 does, with its 95 % interval.

    Args:
        float_classes: what FP32 answers to each, shape (N,).
        classes: what the model does.

    Returns:
        A part of the manifest's `parity`.
    """
    same = classes == float_classes
    low, high = wilson_interval(int(same.sum()), len(same))
    return {"top1_agreement": float(same.mean()), "n": len(same), "low": low, "high": high}


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
