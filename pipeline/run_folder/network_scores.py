"""What a trained network is worth class by class, as a run keeps it: scores/ROLE.json."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from foundation.records import read_record
from foundation.scores import ClassScores, Score, WorstClass
from foundation.sense import at_least

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


def read_scores(path: Path) -> NetworkScores:
    """What `keep_scores` wrote.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is anything else.
    """
    advice = "delete it and run `compress distill` again"
    return read_record(path, NetworkScores, "the scores of a network", advice)
