"""Logits that somebody stored: read by an image's id, and refused where they cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from foundation.errors import CorruptFileError, MissingFileError, ModelMismatchError
from pipeline.models.teachers import asked_teacher
from pipeline.models.teachers.stored import StoredTeacher, numbers_of, read_answers

IDS = ["a/1.png", "b/2.png", "b/3.png"]
LOGITS = np.array([[1.0, 2.0], [3.0, -1.5], [0.0, 0.25]], np.float32)


def npz(path: Path, **arrays: object) -> Path:
    np.savez(path, **{"ids": np.array(IDS), "logits": LOGITS, **arrays})
    return path


def csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


ROWS = [f"{name},{row[0]},{row[1]}" for name, row in zip(IDS, LOGITS.tolist(), strict=True)]


def test_all_forms_say_the_same(tmp_path: Path) -> None:
    tensors = tmp_path / "a.safetensors"
    save_file({"logits": LOGITS}, tensors, {"ids": '["a/1.png", "b/2.png", "b/3.png"]'})
    files = [npz(tmp_path / "a.npz"), tensors, csv(tmp_path / "a.csv", "id,cat,dog", *ROWS)]
    for file in files:
        answers = read_answers(file)
        assert list(answers.ids) == IDS
        np.testing.assert_array_equal(answers.logits, LOGITS)
    assert read_answers(files[2]).classes == ("cat", "dog")


def test_a_file_is_a_teacher_by_its_name(tmp_path: Path) -> None:
    for suffix in (".npz", ".safetensors", ".csv"):
        asked = asked_teacher(f"x/a{suffix}")
        assert asked is not None and asked.kind.by_number
    named = asked_teacher("command:python ask.csv")
    assert named is not None and not named.kind.by_number


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["id,cat,dog", *ROWS, ROWS[0]], "'a/1.png' stands there more than once"),
        (["id,cat,dog", "a,1"], "line 2: 2 values, but the first line names 3 columns"),
        (["id,cat,dog", "a,1,x"], "line 2: could not convert"),
        (["id,cat,dog", "a,1,nan"], "'a' has a logit that is no number"),
        (ROWS, "first line must name the columns"),
        (["id,cat,dog"], "0 ids and logits"),
    ],
)
def test_a_table_without_sense_is_refused(tmp_path: Path, lines: list[str], words: str) -> None:
    with pytest.raises(CorruptFileError, match=words):
        read_answers(csv(tmp_path / "a.csv", *lines))


def test_arrays_without_sense_are_refused_and_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, logits=LOGITS)
    with pytest.raises(CorruptFileError, match="has no array 'ids'"):
        read_answers(path)
    with pytest.raises(CorruptFileError, match=r"3 ids and logits of float32 \(2, 2\)"):
        read_answers(npz(path, logits=LOGITS[:2]))
    with pytest.raises(CorruptFileError, match="names 1 classes, but has 2 logits"):
        read_answers(npz(path, classes=np.array(["cat"])))
    with pytest.raises(CorruptFileError, match="holds no stored logits"):
        read_answers(npz(path, ids=np.array(IDS, object)))
    path.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(CorruptFileError, match="holds no stored logits"):
        read_answers(path)
    with pytest.raises(MissingFileError, match="no such file"):
        read_answers(tmp_path / "nowhere.npz")


def test_an_image_of_which_nothing_is_stored_is_named(tmp_path: Path) -> None:
    answers = read_answers(npz(tmp_path / "a.npz"))
    assert numbers_of(answers, ["b/3.png", "a/1.png"], "a.npz").tolist() == [2, 0]
    with pytest.raises(ModelMismatchError, match=r"nothing on 1 of 2 images, such as 'c.png'"):
        numbers_of(answers, ["a/1.png", "c.png"], "a.npz")


def test_it_answers_numbers_and_never_an_image(tmp_path: Path) -> None:
    teacher = StoredTeacher("a.npz", read_answers(npz(tmp_path / "a.npz")))
    numbers = torch.tensor([2, 0]).view(-1, 1, 1, 1)
    torch.testing.assert_close(teacher(numbers), torch.from_numpy(LOGITS[[2, 0]]))
    assert teacher(torch.zeros(2, 3, 4, 4)).shape == (2, 2)
    with pytest.raises(ModelMismatchError, match="it was shown an image"):
        teacher(torch.rand(2, 3, 4, 4))
