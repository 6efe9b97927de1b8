"""Which class is which logit: a known order by its name, or one of a user's own in a file.

Known orders lie in `class_orders/`, a text file each: a line a class, in the order of the logits,
with an id and a name and a tab between them, or a name alone. A new one is a new file there.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from foundation.errors import DataLayoutError, MissingFileError, nearest, unknown_name
from foundation.files import user_path
from pipeline.data.class_names import read_names
from pipeline.data.kinds import a_few, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ORDERS = Path(__file__).with_name("class_orders")
_MOST_NAMED = 4
_BETWEEN_WORDS = re.compile(r"[\s_\-]+")


@dataclass(frozen=True)
class ClassOrder:
    """Classes in the order of a network's logits.

    Attributes:
        source: a known order's name, or the file.
        classes: a name each, of which no two are the same.
        ids: what else each is called, such as its WordNet id; empty where there is nothing else.
    """

    source: str
    classes: list[str]
    ids: list[str]

    @property
    def identity(self) -> str:
        """The order in one word, wherever it is written."""
        return hashlib.sha256(json.dumps([self.classes, self.ids]).encode()).hexdigest()

    def labels_of(self, names: Sequence[str], where: str) -> list[int]:
        """The number of each class that a dataset has.

        Args:
            names: by which the dataset calls its classes: ids, names, or numbers in the order.
            where: the dataset, for messages.

        Raises:
            DataLayoutError: when one is no class of the order, or two are the same.
        """
        by_number = self._are_numbers(names)
        labels = [int(name) if by_number else self._label_of(name) for name in names]
        unknown = [
            name
            for name, label in zip(names, labels, strict=True)
            if label is None or label >= len(self.classes)
        ]
        if unknown:
            raise DataLayoutError(self._unknown_message(unknown, len(names), where))
        known = [label for label in labels if label is not None]
        self._check_different(names, known, where)
        return known

    def remark(self, labels: Iterable[NDArray[np.int64]]) -> str:
        """How many of the classes there are images of, in a line.

        Args:
            labels: of the classes that each split has.
        """
        import numpy as np  # noqa: PLC0415

        here = np.unique(np.concatenate(list(labels))).tolist()
        count = len(self.classes)
        names = a_few([self.classes[label] for label in here], _MOST_NAMED)
        some = "" if len(here) == count else f"; there are images of {len(here)} of them: {names}"
        first = a_few(self.classes, _MOST_NAMED)
        return f"{count} classes in the order of {shown(self.source)} (data.classes): {first}{some}"

    def _are_numbers(self, names: Sequence[str]) -> bool:
        """Whether a dataset calls its classes by their numbers, rather than by names like these."""
        return all(map(is_number, names)) and any(self._label_of(name) is None for name in names)

    def _label_of(self, name: str) -> int | None:
        """By the id or the name, or by what both are before it is looked at closely: a name in
        other letters, or an id with more behind it, as in n01440764_tench."""
        if name in self._labels:
            return self._labels[name]
        spelt = self._spelt.get(spelling(name))
        if spelt is not None:
            return spelt
        first = re.split(r"[\s_.\-]", name, maxsplit=1)[0]
        return self._labels.get(first) if first in self.ids else None

    @cached_property
    def _labels(self) -> dict[str, int]:
        """By each name and each id as it is written; a name comes before another one's id."""
        by_id = {name: label for label, name in enumerate(self.ids)}
        return by_id | {name: label for label, name in enumerate(self.classes)}

    @cached_property
    def _spelt(self) -> dict[str, int | None]:
        """By each name in plain letters; None where two are the same then."""
        labels: dict[str, int | None] = {}
        for label, name in enumerate(self.classes):
            plain_name = spelling(name)
            labels[plain_name] = None if plain_name in labels else label
        return labels

    def _unknown_message(self, unknown: Sequence[str], total: int, where: str) -> str:
        count = len(self.classes)
        if all(map(is_number, unknown)):
            hint = f"their numbers go from 0 to {count - 1}"
        else:
            known = [*self.classes, *self.ids]
            close = nearest(unknown[0], known) or nearest(spelling(unknown[0]), known)
            hint = f"did you mean {close!r}?" if close else "rename them, or name another order"
        return (
            f"{where}: {len(unknown)} of {total} classes ({a_few(unknown, _MOST_NAMED)}) are none "
            f"of the {count} of {shown(self.source)} (data.classes), which are "
            f"{self.classes[0]!r} to {self.classes[-1]!r}; {hint}"
        )

    def _check_different(self, names: Sequence[str], labels: Sequence[int], where: str) -> None:
        first: dict[int, str] = {}
        for name, label in zip(names, labels, strict=True):
            earlier = first.setdefault(label, name)
            if earlier != name:
                raise DataLayoutError(
                    f"{where}: {earlier!r} and {name!r} are both class {label} "
                    f"({self.classes[label]!r}) of {shown(self.source)} (data.classes); make one "
                    "of them"
                )


def class_order(word: str, where: str = "data.classes") -> ClassOrder:
    """The order that a recipe names.

    Args:
        word: a known order's name, or the path of a file: a name a line, or JSON with a list of
            names, or with a table of numbers to names or of names to numbers.
        where: the place of the word in the recipe, for messages.

    Raises:
        UnknownNameError: when it is neither, and looks like a name.
        MissingFileError: when there is no such file.
        DataLayoutError: when a file is no list of classes.
    """
    path = user_path(word)
    if path.is_file():
        return _order_in(path, str(path))
    if word in order_names():
        return _order_in(_ORDERS / f"{word}.txt", word)
    check_order_name(word, where)
    raise MissingFileError(f"{where}: {shown(word)}: no such file of class names; check the path")


def check_order_name(word: str, where: str) -> None:
    """Make sure that a word that looks like a known order's name is one; no file is looked into.

    Raises:
        UnknownNameError: when it is none, nor a file.
    """
    path = user_path(word)
    looks_like_name = not path.suffix and len(path.parts) == 1
    if looks_like_name and word not in order_names() and not path.is_file():
        raise unknown_name("order of classes", word, order_names(), where)


def numbers_in(order: ClassOrder, names: Sequence[str]) -> list[int] | None:
    """The number of each class in an order; None where one is not in it."""
    try:
        return order.labels_of(names, "")
    except DataLayoutError:
        return None


def order_names() -> list[str]:
    """Names of the known orders, sorted."""
    return sorted(path.stem for path in _ORDERS.glob("*.txt"))


def _order_in(path: Path, source: str) -> ClassOrder:
    ids, classes = read_names(path)
    return ClassOrder(source, classes, ids)


def is_number(name: str) -> bool:
    """Whether a class is called by a number."""
    return name.isascii() and name.isdecimal()


def spelling(name: str) -> str:
    """A name in plain letters: "Electric_Ray" is "electric ray"."""
    return _BETWEEN_WORDS.sub(" ", unicodedata.normalize("NFKC", name).casefold()).strip()
