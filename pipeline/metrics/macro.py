"""Means over classes, in percent: each class counts alike, however rare."""

from __future__ import annotations

import numpy as np

from foundation.classification import Counts
from pipeline.metrics import METRICS, MetricFunction


def _mean_of(name: str) -> MetricFunction:
    def mean(logits: np.ndarray, labels: np.ndarray, ids: np.ndarray) -> float:
        del ids
        counts = Counts.of(labels, logits.argmax(1), logits.shape[1])
        return 100 * float(counts.mean(name))

    return mean


for _name in ("macro_recall", "macro_precision", "macro_f1"):
    METRICS.register(_name)(_mean_of(_name))
