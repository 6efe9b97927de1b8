"""Long lists of names, held compactly: a million files must not fill the memory."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable
from pathlib import Path

from pipeline.data.kinds import shown


class Names:
    """Strings one after the other in one run of bytes.

    A list of a million paths takes hundreds of bytes for each; this takes the bytes of the
    name and eight more.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.content, self.ends = bytearray(), array("q")
        for name in names:
            self.append(name)

    def append(self, name: str) -> None:
        """Add a name at the end."""
        self.content += os.fsencode(name)
        self.ends.append(len(self.content))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        start = self.ends[index - 1] if index else 0
        return os.fsdecode(bytes(self.content[start : self.ends[index]]))


class Listing:
    """Image files under one folder.

    Args:
        root: the folder.
        names: paths of the files relative to it.
    """

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        self.root, self.names = root, Names(names)

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """The file's path, for messages: text even where its bytes are none."""
        return shown(self.root / self.names[index])

    def open(self, index: int) -> Path:
        """What Pillow reads the image from."""
        return self.root / self.names[index]
