"""What a walk through a dataset meets besides images in their place: counted, to be told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Literal

from pipeline.data.contents import content_kind
from pipeline.data.kinds import a_few, is_foreign_image

Kind = Literal[
    "hidden or system folder", "hidden or system file", "other file", "nested picture",
    "foreign picture", "unnamed picture", "special file", "folder that is there already",
    "picture outside a class",
]  # fmt: skip

_HARMLESS: tuple[Kind, ...] = ("hidden or system folder", "hidden or system file", "other file")
_SENTENCES: dict[Kind, str] = {
    "nested picture": (
        "{count} images lie in folders within their class folder and belong to the class ({names})"
    ),
    "foreign picture": (
        "{count} left out, of a kind of picture that is not read ({names}); convert to JPEG or PNG"
    ),
    "unnamed picture": (
        "{count} left out that are pictures by their content, but not by their suffix ({names}); "
        "rename them to .jpg or .png"
    ),
    "special file": "{count} left out that are pipes, sockets or devices ({names})",
    "folder that is there already": (
        "{count} links not followed, to folders that are read anyway or lie above ({names})"
    ),
    "picture outside a class": (
        "{count} left out that lie in no class folder ({names}); move them into one"
    ),
}
_NAMES = 4
_MOST_LOOKED_AT = 1000


class PassedOver:
    """What was met, by kind; of each kind the names of a few are kept."""

    def __init__(self) -> None:
        self.counts: Counter[Kind] = Counter()
        self._names: dict[Kind, list[str]] = {}
        self._looked_at = 0

    def add(self, kind: Kind, name: str) -> None:
        """Count one thing."""
        self.counts[kind] += 1
        names = self._names.setdefault(kind, [])
        if len(names) < _NAMES:
            names.append(name)

    def add_file(self, name: str, read_start: Callable[[], bytes]) -> None:
        """Count a file that is no image by its name.

        Args:
            name: its name.
            read_start: gives its first bytes; of very many files it is asked of some only.
        """
        if is_foreign_image(name):
            self.add("foreign picture", name)
            return
        self._looked_at += 1
        is_picture = self._looked_at <= _MOST_LOOKED_AT and content_kind(read_start())[1]
        self.add("unnamed picture" if is_picture else "other file", name)

    def remarks(self) -> list[str]:
        """A line for each kind that somebody may miss, and one for all the rest."""
        lines = [
            sentence.format(count=self.counts[kind], names=self._few(kind))
            for kind, sentence in _SENTENCES.items()
            if self.counts[kind]
        ]
        rest = [
            f"{count} {kind}{'s' if count > 1 else ''} ({self._few(kind)})"
            for kind in _HARMLESS
            if (count := self.counts[kind])
        ]
        return [*lines, f"left out, being no images: {', '.join(rest)}"] if rest else lines

    def _few(self, kind: Kind) -> str:
        return a_few(self._names[kind], _NAMES - 1)
