"""The area under the ROC curve of two classes, in percent."""

from __future__ import annotations

import numpy as np

from foundation.errors import UsageError
from foundation.ranking import roc_area
from pipeline.metrics import METRICS


@METRICS.register("auroc")
def auroc(logits: np.ndarray, labels: np.ndarray, ids: np.ndarray) -> float:
    """Of the second class against the first; no number where one of them has no image."""
    del ids
    if logits.shape[1] != 2:
        raise UsageError(
            f"metric auroc is of two classes, and there are {logits.shape[1]}; take macro_recall"
        )
    return 100 * roc_area(labels, logits[:, 1] - logits[:, 0])
