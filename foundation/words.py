"""Text that came from elsewhere, made fit to be shown."""

from __future__ import annotations

import re
import unicodedata

_KEPT = frozenset("\n\t")
_SCHEME = re.compile(r"(?:[A-Za-z][\w+.-]*:)?/+")
_PORT = re.compile(r"\d*(?:[/?#]|$)")


def plain(text: str) -> str:
    """Text in which each character that a terminal would obey, or that hides, is written out.

    Line ends, tabs and every kind of blank are kept.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def one_line(text: str) -> str:
    """The same in one line, for a cell of a table and for a page."""
    return " ".join(plain(text).split())


def without_password(url: str) -> str:
    """A URL, however oddly it is written, with "…" in the place of its password.

    A password may have any sign in it, "/" and "#" too, so it goes on to the last "@". Where the
    host was forgotten, it stands where a port would.
    """
    scheme = _SCHEME.match(url)
    head = scheme[0] if scheme else ""
    user, colon, rest = url.removeprefix(head).partition(":")
    # A user may have an "@" too; behind a host and a port it is of the folder's name.
    if "@" in rest and not ("@" in user and _PORT.match(rest)):
        return f"{head}{user}:…@{rest.rpartition('@')[2]}"
    if head and colon and not user.startswith("[") and "@" not in user and not _PORT.match(rest):
        return f"{head}{user}:…"
    return url


def _shown(character: str) -> str:
    if character.isprintable() or character in _KEPT or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode()
