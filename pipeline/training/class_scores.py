"""What a trained network is worth class by class, and by the run's metric: scores/ROLE.json."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foundation.classification import (
    ClassScores,
    WorstClass,
    class_scores,
    confusion,
    mean_scores,
    worst_recall,
)
from foundation.files import write_json
from foundation.ranking import among_best, auroc, few_best
from foundation.records import as_dict, read_record
from foundation.resampling import Score
from foundation.sense import at_least
from foundation.statistics import wilson_interval
from pipeline.metrics.judging import NamedMetric
from pipeline.run_folder.torchrun import leads

KIND = "class-scores"


@dataclass(frozen=True, kw_only=True)
class PartScores:
    """A network on the images of one part of the data; shares from 0 to 1, each with its interval.

    Attributes:
        n: images.
        top1: of these, named rightly.
        top_k: with their class among the `k` likeliest; None of fewer than four classes.
        auroc: of two classes, the second against the first; None of more.
        macro_recall, macro_precision, macro_f1: means over classes.
        worst: the class that is recognised least often.
        by_class: in the order of the classes.
        mistakes: [shown, called, images], numbers of classes, the most frequent first; with
            `by_class` they are the whole confusion matrix.
        metric: values of the run's own metric by name, the one that choices go by first.
    """

    n: int
    top1: Score
    k: int | None
    top_k: Score | None
    auroc: Score | None
    macro_recall: Score
    macro_precision: Score
    macro_f1: Score
    worst: WorstClass
    by_class: list[ClassScores]
    mistakes: list[list[int]]
    metric: dict[str, Score] = field(default_factory=dict)

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from at_least(1, n=self.n)


@dataclass(frozen=True, kw_only=True)
class NetworkScores:
    """The content of a scores file.

    Attributes:
        network: "teacher", "alone" or "student".
        classes: names, in the order of the logits.
        metric: the run's own, as the recipe names it; None where there is none.
        parts: by "test" and "validation".
    """

    schema_version: int = 1
    kind: str = KIND
    network: str
    classes: list[str]
    metric: str | None = None
    parts: dict[str, PartScores]


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


def read_scores(path: Path) -> NetworkScores:
    """What `keep_scores` wrote.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is anything else.
    """
    advice = "delete it and run `compress distill` again"
    return read_record(path, NetworkScores, "the scores of a network", advice)
