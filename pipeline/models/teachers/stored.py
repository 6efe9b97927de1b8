"""answers.npz, .safetensors or .csv as teacher: what somebody's teacher said of each image, stored.

Nobody is asked. It is looked up by an image's id, which is its path within the dataset's folder. So
in place of an image the teacher is shown its number in the file.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from foundation.documents import decoded
from foundation.errors import CorruptFileError, MissingFileError, ModelMismatchError
from foundation.files import read_bounded, user_path
from pipeline.models.teachers import STORED, TEACHERS, TeacherKind, TeacherRequest
from pipeline.models.teachers.asking import AskedTeacher
from smskd.checkpoints.files import save_tensors

_FILE = "logits.safetensors"
_LARGEST = 1 << 34
_NUMBER_SHAPE = (1, 1, 1)
_IDS, _LOGITS, _CLASSES = "ids", "logits", "classes"


@dataclass(frozen=True, eq=False)
class StoredAnswers:
    """What a teacher said of each image.

    Attributes:
        ids: paths of the images within the dataset's folder, with "/" between.
        logits: or probabilities, float32, shape (N, classes).
        classes: their names; empty where the file does not tell.
    """

    ids: Sequence[str]
    logits: NDArray[np.float32]
    classes: tuple[str, ...] = ()

    @cached_property
    def number_of(self) -> Mapping[str, int]:
        """The row of each image, by its id."""
        return {name: number for number, name in enumerate(self.ids)}


def numbers_of(answers: StoredAnswers, ids: Iterable[str], where: str) -> NDArray[np.int64]:
    """The rows in which images stand.

    Args:
        answers: what is stored.
        ids: of the images.
        where: the file, for messages.

    Raises:
        ModelMismatchError: when an image is not there.
    """
    known, wanted = answers.number_of, list(ids)
    missing = [name for name in wanted if name not in known]
    if missing:
        raise ModelMismatchError(
            f"{where}: has nothing on {len(missing)} of {len(wanted)} images, such as "
            f"{missing[0]!r}, but on {answers.ids[0]!r}; an id is an image's path within the "
            "dataset's folder"
        )
    return np.array([known[name] for name in wanted], np.int64)


def read_answers(path: Path) -> StoredAnswers:
    """What a file holds: .npz with `ids` and `logits`, .safetensors with `logits` and a list of
    `ids` in its metadata, or .csv with the id in the first column.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is not such a file, an id stands there twice, or a number is none.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; check the path")
    try:
        ids, logits, classes = _READERS[path.suffix.lower()](path)
    except CorruptFileError:
        raise
    # numpy, zipfile and csv raise a dozen kinds between them for a file that is spoilt.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CorruptFileError(f"{path}: holds no stored logits ({reason[:200]})") from error
    _check(path, ids, logits, classes)
    return StoredAnswers(ids, logits.astype(np.float32), tuple(classes))


def _read_npz(path: Path) -> tuple[list[str], NDArray[Any], list[str]]:
    with np.load(path, allow_pickle=False) as arrays:
        names = [name for name in (_IDS, _LOGITS) if name not in arrays]
        if names:
            raise CorruptFileError(
                f"{path}: has no array {names[0]!r}; it must have ids, text of shape (N,), and "
                f"logits, (N, classes), but has {', '.join(arrays.files) or 'none'}"
            )
        classes = arrays[_CLASSES].tolist() if _CLASSES in arrays else []
        return list(map(str, arrays[_IDS].ravel().tolist())), arrays[_LOGITS], classes


def _read_safetensors(path: Path) -> tuple[list[str], NDArray[Any], list[str]]:
    with safe_open(path, framework="pt") as file:
        facts, names = file.metadata() or {}, set(file.keys())
        if _LOGITS not in names or _IDS not in facts:
            raise CorruptFileError(
                f"{path}: must have a tensor 'logits', (N, classes), and in its metadata 'ids', a "
                "JSON list of text"
            )
        logits = file.get_tensor(_LOGITS).float().numpy()
    ids, classes = (_listed(facts.get(name, "[]")) for name in (_IDS, _CLASSES))
    return ids, logits, classes


def _listed(fact: str) -> list[str]:
    listed = json.loads(fact)
    if not isinstance(listed, list):
        raise ValueError("ids and classes must be lists")
    return list(map(str, listed))


def _read_csv(path: Path) -> tuple[list[str], NDArray[Any], list[str]]:
    rows = csv.reader(io.StringIO(decoded(read_bounded(path, _LARGEST))))
    head = next(rows, [])
    ids, values = list[str](), list[list[float]]()
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) != len(head):
            raise CorruptFileError(
                f"{path} line {number}: {len(row)} values, but the first line names {len(head)} "
                "columns: id, then one a class"
            )
        try:
            values.append(list(map(float, row[1:])))
        except ValueError as error:
            raise CorruptFileError(f"{path} line {number}: {error}") from error
        ids.append(row[0])
    # A first line of numbers is a row of answers, and names nothing.
    return ids, np.array(values, np.float64), head[1:]


_READERS: Mapping[str, Callable[[Path], tuple[list[str], NDArray[Any], list[str]]]] = {
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".csv": _read_csv,
}


def _check(path: Path, ids: list[str], logits: NDArray[Any], classes: Sequence[str]) -> None:
    is_table = logits.ndim == 2 and logits.dtype.kind in "fiu"
    if not is_table or not ids or len(logits) != len(ids):
        raise CorruptFileError(
            f"{path}: {len(ids)} ids and logits of {logits.dtype} {logits.shape}; there must be a "
            "row of numbers an image"
        )
    if classes and len(classes) != logits.shape[1]:
        raise CorruptFileError(
            f"{path}: names {len(classes)} classes, but has {logits.shape[1]} logits an image"
        )
    if len(set(ids)) < len(ids):
        (twice, _), *_ = Counter(ids).most_common(1)
        raise CorruptFileError(f"{path}: {twice!r} stands there more than once")
    broken = np.flatnonzero(~np.isfinite(logits.astype(np.float64)).all(1))
    if len(broken):
        raise CorruptFileError(f"{path}: {ids[broken[0]]!r} has a logit that is no number")
    if classes and all(map(_is_number, classes)) and path.suffix.lower() == ".csv":
        raise CorruptFileError(
            f"{path}: its first line must name the columns, id and then the classes, but its "
            f"names are numbers, such as {classes[0]!r}; write class_0 for a class without a name"
        )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


class StoredTeacher(AskedTeacher):
    """What somebody's teacher said.

    Args:
        name: of the file.
        answers: what it holds.
    """

    def __init__(self, name: str, answers: StoredAnswers) -> None:
        words = json.dumps([list(answers.ids), list(answers.classes)]).encode()
        super().__init__(name, words + np.ascontiguousarray(answers.logits).tobytes())
        self._logits = torch.from_numpy(answers.logits)

    def answer(self, images: Tensor) -> Tensor:
        """The rows of numbers, shape (N, 1, 1, 1), int64; a blank image stands for any."""
        if tuple(images.shape[1:]) == _NUMBER_SHAPE and images.dtype == torch.int64:
            numbers = images.reshape(-1).cpu()
        elif not images.any():  # to look at shapes
            numbers = torch.zeros(len(images), dtype=torch.int64)
        else:
            raise ModelMismatchError(
                f"{self.name}: what a teacher said is looked up by an image's id, but it was shown "
                "an image"
            )
        return self._logits[numbers].to(images.device)


class StoredKind(TeacherKind):
    """A file of logits."""

    by_number = True

    def check(self, argument: str, where: str) -> None:
        if not user_path(argument).is_file():
            raise MissingFileError(f"{where}: {argument}: no such file; check the path")

    def open(self, request: TeacherRequest) -> StoredTeacher:
        path = request.folder / _FILE
        return StoredTeacher(Path(request.argument).name, read_answers(path))

    def adopt(self, request: TeacherRequest, say: Callable[[str], None]) -> StoredTeacher:
        """Keep a copy."""
        del say
        answers = read_answers(user_path(request.argument))
        tensors = {_LOGITS: torch.from_numpy(answers.logits)}
        facts = {_IDS: list(answers.ids), _CLASSES: list(answers.classes)}
        save_tensors(request.folder / _FILE, tensors, **facts)
        return self.open(request)

    def classes(self, argument: str) -> tuple[str, ...] | None:
        return read_answers(user_path(argument)).classes or None

    def class_count(self, argument: str) -> int | None:
        return int(read_answers(user_path(argument)).logits.shape[1])


TEACHERS.register(STORED)(StoredKind())
