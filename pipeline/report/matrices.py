"""Tables whose cells are shaded: which classes are taken for which, and what stages retain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foundation.answers import Answers
from pipeline.report.answers import confusion
from pipeline.report.details import ReportDetails
from pipeline.report.training_plots import retained_shades, retention_table
from pipeline.shown.pages.plots import DataTable, Value

_MOST_IN_MATRIX = 20
_MOST_MISTAKEN = 20


@dataclass(frozen=True)
class Matrix:
    """A table whose cells are shaded.

    Attributes:
        title: what it shows.
        table: the figures; the first column names the rows.
        shades: of each cell, −1 (good) to 1 (bad).
        diagonal: whether cells of a row and column of one class are marked.
    """

    title: str
    table: DataTable
    shades: list[list[float]]
    diagonal: bool = False


def retention_matrix(details: ReportDetails) -> Matrix | None:
    """What is left of each stage after later ones; None where it was not measured."""
    if details.retention is None:
        return None
    shades = retained_shades(details.retention)
    blank = [0.0] * len(details.retention["stages"])
    table = retention_table(details.retention)
    return Matrix("What is left of each stage", table, [*shades, blank])


def confusion_matrix(bundle: str, answers: Answers, names: Sequence[str]) -> Matrix:
    """All classes against all where they are few; of many the commonest mistakes."""
    counts = confusion(answers, len(names))
    title = f"Confusion: {bundle}"
    if len(names) > _MOST_IN_MATRIX:
        return Matrix(f"{title}, its commonest mistakes", _mistakes(counts, names), [])
    of_class = np.maximum(counts.sum(1, keepdims=True), 1)
    wrong = ~np.eye(len(names), dtype=bool)
    shades = np.where(wrong, np.minimum(1.0, 5 * counts / of_class), -(counts / of_class))
    rows: list[list[Value]] = [
        [name, *map(int, row)] for name, row in zip(names, counts, strict=True)
    ]
    table = DataTable(["shows", *names], rows)
    return Matrix(title, table, shades.round(3).tolist(), diagonal=True)


def _mistakes(counts: Any, names: Sequence[str]) -> DataTable:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_MISTAKEN]
    pairs = [divmod(int(place), len(names)) for place in order]
    return DataTable(
        ["shows", "is called", "images", "of"],
        [
            [names[row], names[column], int(wrong[row, column]), int(counts[row].sum())]
            for row, column in pairs
            if wrong[row, column]
        ],
    )
