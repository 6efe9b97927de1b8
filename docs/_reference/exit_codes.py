"""Exit codes and the errors behind them."""

from __future__ import annotations

import re

from _reference.markdown import page, table, words
from foundation.errors import CompressError
from pipeline.commands.explain import exit_codes

_PAGE_NAMED = re.compile(r"docs/([\w-]+)\.md")


def pages() -> dict[str, str]:
    """One page, with a part for each code, as `compress explain` shows it."""
    classes = {kind.exit_code: kind for kind in [CompressError, *CompressError.__subclasses__()]}
    codes = exit_codes()
    rows = [
        [f"[{one.code}](#{one.name})", words(one.title), _class(classes.get(one.code))]
        for one in codes
    ]
    parts = [
        f"({one.name})=\n## {one.code}: {words(one.title)}\n\n`compress explain {one.code}` or "
        f"`compress explain {one.name}`\n\n" + _PAGE_NAMED.sub(r"[\1](../\1.md)", one.text)
        for one in codes
    ]
    return {
        "exit-codes.md": page(
            "Exit codes and errors",
            "A command ends with a number that says what happened, and with one line on standard "
            "error where something was wrong. Whoever uses the packages from Python catches "
            "`foundation.errors.CompressError` or one of its kinds.",
            table(["code", "what it means", "error in Python"], rows),
            *parts,
        )
    }


def _class(kind: type[CompressError] | None) -> str:
    return f"`{kind.__name__}`" if kind else ""
