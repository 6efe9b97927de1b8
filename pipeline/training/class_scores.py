"""What a trained network is worth class by class, and by the run's metric: scores/ROLE.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foundation.classification import (
    class_scores,
    confusion,
    mean_scores,
    worst_recall,
)
from foundation.files import write_json
from foundation.ranking import among_best, auroc, few_best
from foundation.records import as_dict
from foundation.scores import Score
from foundation.statistics import wilson_interval
from pipeline.metrics.judging import NamedMetric
from pipeline.run_folder.network_scores import NetworkScores, PartScores
from pipeline.run_folder.torchrun import leads


def scores_of(
    logits: NDArray[np.float32], labels: NDArray[np.int64], metric: NamedMetric | None = None
) -> PartScores:
    """What logits (N, classes) of images with labels (N,) are worth.

    Raises:
        ModelMismatchError: when the metric fails.
    """
    answers, classes, n = logits.argmax(1), logits.shape[1], len(labels)
    matrix = confusion(labels, answers, classes)
    k = few_best(classes)
    two = classes == 2
    judged = None if metric is None else metric.judge(logits, labels)
    return PartScores(
        n=n,
        top1=_share(labels == answers),
        k=k,
        top_k=None if k is None else _share(among_best(logits, labels, k)),
        auroc=auroc(labels, logits[:, 1] - logits[:, 0]) if two else None,
        **mean_scores(labels, answers, classes),
        worst=worst_recall(labels, labels == answers, classes),
        by_class=class_scores(labels, answers, classes),
        mistakes=_mistakes(matrix),
        metric={} if judged is None else {name: judged.score(name) for name in judged.values},
    )


def _share(right: NDArray[np.bool_]) -> Score:
    return Score(float(right.mean()), *wilson_interval(int(right.sum()), len(right)))


def _mistakes(matrix: NDArray[np.int64]) -> list[list[int]]:
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    cells = [[int(i), int(j), int(wrong[i, j])] for i, j in zip(*np.nonzero(wrong), strict=True)]
    return sorted(cells, key=lambda cell: -cell[2])


def keep_scores(
    path: Path,
    network: str,
    classes: Sequence[str],
    parts: dict[str, PartScores],
    metric: NamedMetric | None,
) -> None:
    """Write a network's scores; of several processes, the leading one does. Without any, where
    images have no labels, an older file goes."""
    if not leads():
        return
    if not parts:
        path.unlink(missing_ok=True)
        return
    name = None if metric is None else metric.name
    scores = NetworkScores(network=network, classes=list(classes), metric=name, parts=parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, as_dict(scores))
