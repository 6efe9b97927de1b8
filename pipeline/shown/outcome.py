"""What a command found: JSON for a machine, tables and lines for a person."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table

from pipeline.shown.words import safe


@dataclass(frozen=True)
class Outcome:
    """What a command found, for a machine and for a person.

    Attributes:
        content: JSON values.
        shown: tables and lines, in order.
        passed: False when a gate said no.
        inconclusive: whether it could not say.
    """

    content: Any
    shown: Sequence[RenderableType]
    passed: bool = True
    inconclusive: bool = False

    @property
    def exit_code(self) -> int:
        """0, 1 when a gate said no, 3 when it could not say."""
        return 3 if self.inconclusive else 0 if self.passed else 1

    def show(self) -> None:
        """Print it for a person, on standard output."""
        console = result_console()
        for part in self.shown:
            console.print(part)


def table_of(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of words; the last column may wrap."""
    table = Table(title=title, title_justify="left")
    for column in columns[:-1]:
        table.add_column(column, no_wrap=True)
    table.add_column(columns[-1])
    for row in rows:
        table.add_row(*(safe(word) for word in row))
    return table


def result_console() -> Console:
    """Tables for people, on standard output; wide enough for them where nobody looks."""
    width = None if sys.stdout.isatty() else 160
    # A class may be called ":cat:", and a run ":100:"; neither is a picture.
    return Console(highlight=False, emoji=False, width=width)
