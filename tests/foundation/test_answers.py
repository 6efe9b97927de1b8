from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foundation.answers import Answers, read_answers, write_answers
from foundation.errors import CorruptFileError, MissingFileError

ANSWERS = Answers(np.array([0, 1, 2]), np.array([0, 2, 2]), np.array([0.5, 0.25, 1.0]))
HEAD = "image,label,answer,confidence\n"


def test_answers_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "there/answers.csv"
    write_answers(path, ANSWERS)
    assert path.read_text() == f"{HEAD}0,0,0,0.500000\n1,1,2,0.250000\n2,2,2,1.000000\n"
    again = read_answers(path, 3)
    for name in ("labels", "classes", "confidence", "right"):
        assert np.array_equal(getattr(again, name), getattr(ANSWERS, name))
    assert list(again.right) == [True, False, True]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "list index"),
        ("a,b\n0,0\n", "first line"),
        (HEAD, "no images"),
        (f"{HEAD}0,0,0\n", "columns"),
        (f"{HEAD}1,0,0,0.5\n", "numbered"),
        (f"{HEAD}0,3,0,0.5\n", "a label is none of 3"),
        (f"{HEAD}0,0,-1,0.5\n", "an? answer is none of 3"),
        (f"{HEAD}0,0,0.5,0.5\n", "answer"),
        (f"{HEAD}0,0,0,1.5\n", "confidence"),
        (f"{HEAD}0,0,0,nan\n", "confidence"),
        (f"{HEAD}0,nan,0,0.5\n", "label"),
        (f"{HEAD}0,x,0,0.5\n", "could not convert"),
    ],
)
def test_what_is_no_such_file_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "answers.csv"
    path.write_text(text)
    with pytest.raises(CorruptFileError, match=words) as told:
        read_answers(path, 3)
    assert "compress export" in str(told.value)


def test_one_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"answers\.csv"):
        read_answers(tmp_path / "answers.csv", 3)
