"""How well a classifier does, class by class: recall, precision, F1, their means, the worst class.

Recall and precision are shares of a count, with Wilson's interval. F1 is 2J / (1 + J) of Jaccard's
index J = hits / (hits + misses + false alarms), which is such a share too, so its interval is
Wilson's of J carried over. Means over classes and AUROC have a percentile bootstrap over images.
docs/metrics.md has the formulas with their sources.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foundation.resampling import Values, drawn_images, score_of
from foundation.scores import ClassScores, Score, WorstClass
from foundation.statistics import paired_difference, wilson_interval, z_for_all_of

Classes = NDArray[np.int64]
MEANS = ("macro_recall", "macro_precision", "macro_f1")
_AVERAGED = ("recall", "precision", "f1")


@dataclass(frozen=True, eq=False)
class Counts:
    """Images by class, of one set of answers or of many that were drawn from it: (..., classes).

    Attributes:
        shown: that show a class.
        named: that were called it.
        right: both.
    """

    shown: NDArray[np.int64]
    named: NDArray[np.int64]
    right: NDArray[np.int64]

    @classmethod
    def of(cls, labels: Classes, answers: Classes, classes: int) -> Counts:
        """The counts of labels and answers, (N,) each."""
        shown, named = (np.bincount(values, minlength=classes) for values in (labels, answers))
        return cls(shown, named, np.bincount(labels[labels == answers], minlength=classes))

    @classmethod
    def drawn(cls, labels: Classes, answers: Classes, classes: int) -> Counts:
        """Of each set of images that the bootstrap draws: (replicates, classes)."""
        rows = []
        for images in drawn_images(len(labels)):
            counts = cls.of(labels[images], answers[images], classes)
            rows.append((counts.shown, counts.named, counts.right))
        return cls(*np.array(rows).swapaxes(0, 1))

    def of_class(self, name: str, number: int) -> Values:
        """Precision or F1 of one class, (...); NaN where there is nothing to count."""
        right, named = self.right[..., number], self.named[..., number]
        over, under = (right, named) if name == "precision" else (2 * right, named)
        if name == "f1":
            under = under + self.shown[..., number]
        return np.where(under > 0, over / np.maximum(under, 1), np.nan)

    def mean(self, name: str) -> Values:
        """A mean over classes, (...): each class counts alike, however rare.

        Args:
            name: one of `MEANS`. Recall is meaned over the classes that are shown (the balanced
                accuracy), precision and F1 over those that are shown or named, as scikit-learn
                does; a class that is never named rightly has 0.
        """
        over, under = {
            "macro_recall": (self.right, self.shown),
            "macro_precision": (self.right, self.named),
            "macro_f1": (2 * self.right, self.shown + self.named),
        }[name]
        there = self.shown > 0 if name == "macro_recall" else self.shown + self.named > 0
        shares = over / np.maximum(under, 1)
        return np.asarray((shares * there).sum(-1) / np.maximum(there.sum(-1), 1))


def class_scores(labels: Classes, answers: Classes, classes: int) -> list[ClassScores]:
    """Each class by itself, in the order of the logits.

    Args:
        labels: what images show, int64 (N,), N at least 1.
        answers: what they were called, int64 (N,).
        classes: how many there are.
    """
    counts = Counts.of(labels, answers, classes)
    rows = zip(counts.shown.tolist(), counts.named.tolist(), counts.right.tolist(), strict=True)
    return [
        ClassScores(
            n, named, right, _share(right, n), _share(right, named), f1_score(right, n, named)
        )
        for n, named, right in rows
    ]


def _share(right: int, of: int) -> Score | None:
    return Score(right / of, *wilson_interval(right, of)) if of else None


def f1_score(right: int, shown: int, named: int) -> Score | None:
    """F1 of a class from its counts, with its interval; None where there is nothing to count."""
    union = shown + named - right
    if not union:
        return None
    low, high = (2 * bound / (1 + bound) for bound in wilson_interval(right, union))
    return Score(2 * right / (shown + named), low, high)


def mean_score(labels: Classes, answers: Classes, classes: int, name: str) -> Score:
    """A mean over classes (one of `MEANS`) with its bootstrap interval, 0..1; arguments as
    `class_scores`."""
    return mean_scores(labels, answers, classes, (name,))[name]


def mean_scores(
    labels: Classes, answers: Classes, classes: int, names: Sequence[str] = MEANS
) -> dict[str, Score]:
    """Several means at once, by name; as `mean_score`."""
    found, drawn = (count(labels, answers, classes) for count in (Counts.of, Counts.drawn))
    scores = {}
    for name in names:
        value = float(found.mean(name))
        least = wilson_interval(value * len(labels), len(labels))
        scores[name] = score_of(value, drawn.mean(name), least)
    return scores


def mean_drop(labels: Classes, before: Classes, after: Classes, classes: int, name: str) -> Score:
    """How far a mean over classes fell between two models' answers to the same images, 0..1."""
    counts = [(Counts.of, answers) for answers in (before, after)]
    then, now = (float(count(labels, answers, classes).mean(name)) for count, answers in counts)
    drawn = [Counts.drawn(labels, answers, classes).mean(name) for answers in (before, after)]
    _, low, high = paired_difference(0, 0, len(labels))
    return score_of(then - now, drawn[0] - drawn[1], (then - now + low, then - now + high))


def class_drop(
    labels: Classes, before: Classes, after: Classes, classes: int, *, name: str, number: int
) -> Score | None:
    """How far "precision" or "f1" of one class fell between two models' answers to the same images,
    0..1; None where either has none."""
    answered = (before, after)
    then, now = (
        float(Counts.of(labels, answers, classes).of_class(name, number)) for answers in answered
    )
    if math.isnan(then) or math.isnan(now):
        return None
    drawn = [Counts.drawn(labels, answers, classes).of_class(name, number) for answers in answered]
    concerned = int(((labels == number) | (before == number) | (after == number)).sum())
    _, low, high = paired_difference(0, 0, concerned)
    return score_of(then - now, drawn[0] - drawn[1], (then - now + low, then - now + high))


def worst_recall(labels: Classes, right: NDArray[np.bool_], classes: int) -> WorstClass:
    """The class that is recognised least often.

    The true least recall is at least the least lower bound, and at most the least upper bound,
    which must hold for all classes at once (Bonferroni).

    Args:
        labels: what images show, int64 (N,), N at least 1.
        right: which were named rightly, (N,).
        classes: how many there are.
    """
    shown, hits, there = _by_class(labels, right, classes)
    z = z_for_all_of(len(there))
    shares = [hits[c] / shown[c] for c in there]
    low = min(wilson_interval(hits[c], shown[c])[0] for c in there)
    high = min(wilson_interval(hits[c], shown[c], z)[1] for c in there)
    worst = there[int(np.argmin(shares))]
    return WorstClass(worst, shown[worst], Score(min(shares), low, high))


def worst_drop(
    labels: Classes, before: NDArray[np.bool_], after: NDArray[np.bool_], classes: int
) -> WorstClass:
    """The class whose recall fell most between two models' answers to the same images.

    As `worst_recall`; of each class the interval is that of paired shares.

    Args:
        labels: what images show, int64 (N,), N at least 1.
        before, after: which were named rightly, (N,).
        classes: how many there are.
    """
    shown, lost, there = _by_class(labels, before & ~after, classes)
    won = _by_class(labels, after & ~before, classes)[1]
    z = z_for_all_of(len(there))
    drops = [(lost[c] - won[c]) / shown[c] for c in there]
    low = max(paired_difference(lost[c], won[c], shown[c], z)[1] for c in there)
    high = max(paired_difference(lost[c], won[c], shown[c])[2] for c in there)
    worst = there[int(np.argmax(drops))]
    return WorstClass(worst, shown[worst], Score(max(drops), low, high))


def _by_class(
    labels: Classes, which: NDArray[np.bool_], classes: int
) -> tuple[list[int], list[int], list[int]]:
    """Images of each class, how many of them are so, and the classes that have any."""
    shown = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels[which], minlength=classes)
    return shown.tolist(), hits.tolist(), np.flatnonzero(shown).tolist()


def confusion(labels: Classes, answers: Classes, classes: int) -> NDArray[np.int64]:
    """How many images of each class (row) were given each class (column)."""
    cells = np.bincount(labels * classes + answers, minlength=classes * classes)
    return cells.reshape(classes, classes)
