"""`compress explain`: what an exit code means, what it usually comes of, and what to do.

A page a code in `exit_codes/`, named CODE-NAME.md; its first line is the title. A new exit code is
a new file there, beside its class in `foundation.errors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.markdown import Markdown
from rich.text import Text

from foundation.errors import unknown_name
from foundation.records import as_dict
from pipeline.shown.outcome import Outcome, table_of

_PAGES = Path(__file__).with_name("exit_codes")


@dataclass(frozen=True)
class ExitCode:
    """What a command can end with.

    Attributes:
        code: what the shell is told.
        name: by which it can be asked for.
        title: what it means, in a few words.
        text: what it comes of and what to do; Markdown.
    """

    code: int
    name: str
    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class ExitCodesShown:
    """What `compress explain --json` prints."""

    schema_version: int = 1
    kind: str = "exit-codes"
    exit_codes: list[ExitCode]


def exit_codes() -> list[ExitCode]:
    """All that a command can end with, by number."""
    return sorted(map(_page, _PAGES.glob("*.md")), key=lambda page: page.code)


def explained(word: str | None) -> Outcome:
    """All exit codes in a table, or one with its page.

    Args:
        word: a number or a name; None takes all.

    Raises:
        UnknownNameError: when there is none of that number or name.
    """
    known = exit_codes()
    if word is None:
        rows = [[str(page.code), page.name, page.title] for page in known]
        table = table_of("Exit codes", ["code", "name", "what it means"], rows)
        note = "`compress explain CODE` says what it comes of, and what to do"
        return Outcome(as_dict(ExitCodesShown(exit_codes=known)), [table, note])
    for page in known:
        if word in (str(page.code), page.name):
            title = Text(f"{page.code}: {page.title}\n", style="bold")
            content = as_dict(ExitCodesShown(exit_codes=[page]))
            return Outcome(content, [title, Markdown(page.text)])
    names = [str(page.code) for page in known] if word.isdecimal() else [p.name for p in known]
    raise unknown_name("exit code", word, names)


def _page(path: Path) -> ExitCode:
    code, _, name = path.stem.partition("-")
    title, _, text = path.read_text(encoding="utf-8").partition("\n")
    return ExitCode(int(code), name, title.removeprefix("# "), text.strip())
