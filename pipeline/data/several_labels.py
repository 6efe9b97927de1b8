"""An image with several labels at once is none for a classifier that names one: it is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable

from foundation.errors import DataLayoutError

ONE_LABEL_EACH = (
    "each image has one class here (multi-label data is not learnt from, see docs/metrics.md); "
    "give each image one label, or make a class of the combination, under a name of its own"
)
_BETWEEN = re.compile(r"[;|,+]")


def check_one_label_each(names: Iterable[str], place: str) -> None:
    """Make sure that no label is several others in one: "crack;rust" beside "crack" and "rust".

    Args:
        names: all labels.
        place: the table, for messages.

    Raises:
        DataLayoutError: when one is.
    """
    known = set(names)
    for name in sorted(known):
        parts = [part.strip() for part in _BETWEEN.split(name)]
        if len(parts) > 1 and known.issuperset(parts):
            raise DataLayoutError(
                f"{place}: the label {name!r} is {len(parts)} labels at once, but {ONE_LABEL_EACH}"
            )
