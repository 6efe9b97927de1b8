"""Pieces of a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

GENERATED = "% Written from the code by docs/_reference; edit that.\n"

# A plain "<" or "*" of somebody's words is no markup; what stands between backticks is left alone.
_MARKUP = re.compile(r"(`[^`]*`)|([<>*_|\[\]$])")


def page(title: str, *parts: str) -> str:
    """A page: its title, then its parts with a line between them."""
    return "\n\n".join([f"{GENERATED}\n# {title}", *filter(None, parts)]) + "\n"


def words(text: str) -> str:
    """Plain words as Markdown; `code` stays code."""
    return _MARKUP.sub(lambda match: match[1] or "\\" + match[2], " ".join(text.split()))


def code(text: object) -> str:
    """As code, on one line; empty where there is nothing."""
    shown = " ".join(str(text).split())
    fence = "``" if "`" in shown else "`"
    return f"{fence}{shown}{fence}" if shown else ""


def block(text: str, language: str = "text") -> str:
    """A block of code."""
    return f"```{language}\n{text.strip()}\n```"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar within a cell is written out."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(row)} |".replace("\n", " ") for row in lines)


def cell(text: object) -> str:
    """Code for a cell of a table, where a bar would end it."""
    return code(text).replace("|", "\\|")
