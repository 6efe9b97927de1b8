"""Top-5 accuracy, in percent; of fewer than ten classes that of half of them."""

from __future__ import annotations

import numpy as np

from foundation.ranking import among_best, few_best
from pipeline.metrics import METRICS


@METRICS.register("top5")
def top5(logits: np.ndarray, labels: np.ndarray, ids: np.ndarray) -> float:
    """Of two or three classes it is top-1."""
    del ids
    k = few_best(logits.shape[1]) or 1
    return 100 * float(among_best(logits, labels, k).mean())
