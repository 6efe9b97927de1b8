"""What a model answered to labelled images, one by one: a CSV file that anybody can read."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foundation.errors import CorruptFileError
from foundation.files import read_bounded, write_text

ANSWERS = "answers.csv"
_HEAD = ["image", "label", "answer", "confidence"]
_LARGEST = 256 * 2**20


@dataclass(frozen=True, eq=False)
class Answers:
    """A model's answers to the images of a part of the data, in their order.

    Attributes:
        labels: what each image shows, int64 (N,).
        classes: the class that the model named, int64 (N,).
        confidence: softmax of its logit, 0..1, float64 (N,).
    """

    labels: NDArray[np.int64]
    classes: NDArray[np.int64]
    confidence: NDArray[np.float64]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which images are named rightly, (N,)."""
        return np.asarray(self.labels == self.classes)


def write_answers(path: Path, answers: Answers) -> None:
    """Write answers as CSV, whole or not at all: image (its place), label, answer, confidence."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEAD)
    columns = (answers.labels, answers.classes, answers.confidence)
    for place, (label, answer, confidence) in enumerate(zip(*columns, strict=True)):
        writer.writerow([place, int(label), int(answer), f"{confidence:.6f}"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text.getvalue())


def read_answers(path: Path, classes: int) -> Answers:
    """Read what `write_answers` wrote.

    Args:
        path: the file.
        classes: how many there are: labels and answers are below it.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is none of these.
    """
    advice = "delete it and run `compress export` again"
    try:
        lines = read_bounded(path, _LARGEST).decode().splitlines()
        if lines[0].split(",") != _HEAD:
            raise ValueError(f"its first line is {lines[0][:80]!r}")
        if len(lines) == 1:
            raise ValueError("it has no images")
        table = np.loadtxt(lines[1:], delimiter=",", dtype=np.float64, ndmin=2)
        return _checked(table, classes)
    except (ValueError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CorruptFileError(f"{path}: not a file of answers ({reason}); {advice}") from error


def _checked(table: NDArray[np.float64], classes: int) -> Answers:
    if table.shape[1:] != (len(_HEAD),):
        raise ValueError(f"it has {table.shape[-1]} columns, not {len(_HEAD)}")
    places, labels, answers, confidence = table.T
    if not np.array_equal(places, np.arange(len(table))):
        raise ValueError("its images are not numbered from 0 on")
    for name, column in (("label", labels), ("answer", answers)):
        if (
            not np.array_equal(column, column.round())
            or column.min() < 0
            or column.max() >= classes
        ):
            raise ValueError(f"a {name} is none of {classes} classes")
    if not (confidence.min() >= 0 and confidence.max() <= 1):
        raise ValueError("a confidence is not from 0 to 1")
    return Answers(labels.astype(np.int64), answers.astype(np.int64), confidence)
