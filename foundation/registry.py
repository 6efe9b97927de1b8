"""One registry for everything that can be added by adding a file.

A registry owns a package (or, for small entries, one module). A module in that package registers
what it holds with the decorator when it is imported, so a new entry is a new file and nothing else
is edited. Whoever asks for one name has the module of that name imported, where there is one: the
others' libraries take seconds. All are imported for the list of names, and for a name that is of no
module.
Other distributions add theirs through an entry point group of the same name as
the package.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import threading
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from foundation.errors import unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to entries of one kind.

    Args:
        kind: what an entry is called in messages, such as "method".
        package: dotted name of the package whose modules hold the entries; also
            the entry point group under which other distributions offer theirs.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._entries: dict[str, T] = {}
        self._discovered = False
        self._discovering = threading.RLock()

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files an entry under `name`.

        Raises:
            ValueError: when the name is taken by another entry.
        """

        def add(entry: T) -> T:
            if name in self._entries and self._entries[name] is not entry:
                raise ValueError(f"two entries claim the {self.kind} name {name!r}")
            self._entries[name] = entry
            return entry

        return add

    def get(self, name: str, where: str = "") -> T:
        """The entry called `name`; `where` tells the user where that name was written.

        Raises:
            UnknownNameError: with the nearest name and the list of all.
        """
        entry = self.find(name)
        if entry is None:
            raise unknown_name(self.kind, name, self._entries, where)
        return entry

    def find(self, name: str) -> T | None:
        """The entry called `name`; None where there is none."""
        if name not in self._entries:
            self._import_namesake(name)
        if name not in self._entries:
            self._discover()
        return self._entries.get(name)

    def names(self) -> list[str]:
        """All names, sorted; numbers in them count as numbers, so resnet8 is before resnet20."""
        self._discover()
        return sorted(self._entries, key=_natural)

    def items(self) -> list[tuple[str, T]]:
        """All (name, entry) pairs, sorted by name."""
        return [(name, self._entries[name]) for name in self.names()]

    def _import_namesake(self, name: str) -> None:
        """Import the module that is called like an entry, if there is one."""
        stem = name.replace("-", "_")
        with self._discovering:
            if self._discovered or not stem.isidentifier() or stem.startswith("_"):
                return
            package = importlib.import_module(self.package)
            modules = pkgutil.iter_modules(getattr(package, "__path__", []))
            if stem in {module.name for module in modules}:
                importlib.import_module(f"{self.package}.{stem}")

    def _discover(self) -> None:
        # A thread that asks while another looks has to wait for all that is found.
        with self._discovering:
            if self._discovered:
                return
            self._discovered = True
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(getattr(package, "__path__", [])):
                if not module.name.startswith("_"):
                    importlib.import_module(f"{self.package}.{module.name}")
            for entry_point in entry_points(group=self.package):
                entry_point.load()


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
