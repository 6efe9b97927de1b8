"""Tables of what networks are worth class by class, from their scores (scores/ROLE.json)."""

from __future__ import annotations

from collections.abc import Sequence

from foundation.scores import Score
from pipeline.report.content import ReportContent
from pipeline.report.tables import NOTHING, Words
from pipeline.run_folder.network_scores import NetworkScores, PartScores
from pipeline.shown.words import number

_TEST = "test"
MOST_CLASSES = 30
"""In the table of classes; of more, those that are recognised least often."""
_NAMES = {"teacher": "teacher", "alone": "student alone", "student": "student"}


def networks_table(content: ReportContent) -> Words | None:
    """A row a network: means over classes, the worst class and the run's own metric, on the test
    images; None where nothing was judged so."""
    judged = {
        role: (scores, scores.parts[_TEST])
        for role, scores in content.scores.items()
        if _TEST in scores.parts
    }
    if not judged:
        return None
    parts = [part for _, part in judged.values()]
    first = parts[0]
    metrics = list(dict.fromkeys(name for part in parts for name in part.metric))
    heads = ["network", "top-1 %"]
    heads += [f"top-{first.k} %"] if first.top_k else []
    heads += ["AUROC %"] if first.auroc else []
    heads += ["recall, mean %", "precision, mean %", "F1, mean %", "worst class", "its recall %"]
    rows = [
        _network_row(_NAMES[role], scores, part, metrics) for role, (scores, part) in judged.items()
    ]
    return Words([*heads, *metrics], rows, marked="student", quiet=frozenset({"teacher"}))


def _network_row(
    name: str, scores: NetworkScores, part: PartScores, metrics: Sequence[str]
) -> list[str]:
    likely = [part.top_k, part.auroc]
    shares = [part.top1, *(share for share in likely if share is not None)]
    shares += [part.macro_recall, part.macro_precision, part.macro_f1]
    worst = f"{scores.classes[part.worst.number]} ({part.worst.n} images)"
    return [
        name,
        *map(_percent, shares),
        worst,
        _percent(part.worst.score),
        *(_plain(part.metric.get(metric)) for metric in metrics),
    ]


def classes_table(content: ReportContent) -> Words | None:
    """A row a class of the student: how many test images show it, and how well it is told from the
    rest; the classes that are recognised least often first."""
    scores = content.scores.get("student")
    if scores is None or _TEST not in scores.parts:
        return None
    named = zip(scores.classes, scores.parts[_TEST].by_class, strict=True)
    shown = [(name, of_class) for name, of_class in named if of_class.recall is not None]
    shown.sort(key=lambda row: row[1].recall.value if row[1].recall else 0.0)
    rows = [
        [
            name,
            str(of_class.n),
            *map(_percent, (of_class.recall, of_class.precision, of_class.f1)),
        ]
        for name, of_class in shown[:MOST_CLASSES]
    ]
    return Words(["class", "test images", "recall %", "precision %", "F1 %"], rows)


def classes_left_out(content: ReportContent) -> int:
    """How many classes with test images `classes_table` does not show."""
    scores = content.scores.get("student")
    if scores is None or _TEST not in scores.parts:
        return 0
    shown = sum(of_class.n > 0 for of_class in scores.parts[_TEST].by_class)
    return max(0, shown - MOST_CLASSES)


def _percent(score: Score | None) -> str:
    if score is None:
        return NOTHING
    low, high = (number(100 * bound, 1) for bound in (score.low, score.high))
    return f"{number(100 * score.value, 2)} ({low} to {high})"


def _plain(score: Score | None) -> str:
    return NOTHING if score is None else f"{score.value:.4g} ({score.low:.4g} to {score.high:.4g})"
