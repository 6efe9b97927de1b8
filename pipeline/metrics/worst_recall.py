"""Recall of the class that is recognised least often, in percent."""

from __future__ import annotations

import numpy as np

from foundation.classification import Counts
from pipeline.metrics import METRICS


@METRICS.register("worst_recall")
def worst_recall(logits: np.ndarray, labels: np.ndarray, ids: np.ndarray) -> float:
    """Of the classes that have images, the least recall."""
    del ids
    counts = Counts.of(labels, logits.argmax(1), logits.shape[1])
    there = counts.shown > 0
    return 100 * float((counts.right[there] / counts.shown[there]).min())
